package local_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/client/local"
	"github.com/spexio/spex/spec"
)

const order = `
name: order
transitions:
  - {from: cart, action: checkout, to: pending}
  - {from: pending, action: pay, to: paid}
`

// A manager in this process learns from what it is shown, and then checks.
func Example() {
	ctx := context.Background()
	m, err := local.Open(ctx, local.Options{}) // with Dir, what is acknowledged is on disk
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	s, err := spec.Parse("order.yaml", []byte(order))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := m.ApplySpecification(ctx, s.Proto()); err != nil {
		log.Fatal(err)
	}
	for _, id := range []string{"order-1", "order-2"} {
		if _, err := m.Init(ctx, "order", id); err != nil {
			log.Fatal(err)
		}
		if _, err := m.Transition(ctx, id, "checkout", "pending"); err != nil {
			log.Fatal(err)
		}
		if id == "order-1" {
			if _, err := m.Transition(ctx, id, "pay", "paid"); err != nil {
				log.Fatal(err)
			}
			if _, err := m.SealModel(ctx, "order"); err != nil {
				log.Fatal(err)
			}
		}
	}
	_, err = m.Transition(ctx, "order-2", "ship", "gone")
	var deviation *client.DeviationError
	fmt.Println(errors.As(err, &deviation), errors.Is(err, client.ErrDeviationNotEquivalent))
	// Output: true true
}
