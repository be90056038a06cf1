package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// exampleNet stands in for a cluster, so that the examples run by themselves. Real
// programs give no Dialer.
func exampleNet(verdicts ...typesv1.Verdict) *fakeNet {
	net := newNet("n1.example:7301", "n2.example:7301")
	net.verdicts = verdicts
	return net
}

// Record an instance and its steps. Any node will do; the others are for when it is down.
func Example() {
	cluster := exampleNet()
	defer cluster.stop()

	ctx := context.Background()
	c, err := Dial(ctx, Options{
		Addresses: []string{"n1.example:7301", "n2.example:7301"},
		Dialer:    cluster.dial,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if _, err := c.Init(ctx, "orders", "order-1", WithMeta(map[string]string{"customer": "42"})); err != nil {
		log.Fatal(err)
	}
	step, err := c.Transition(ctx, "order-1", "pay", "paid")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(step.GetSeq(), step.GetState(), step.GetVerdict())
	// Output: 2 paid VERDICT_OK
}

// A step that deviates is stored. The error says that the policy of the
// specification rejects it; it must not be sent again.
func ExampleDeviationError() {
	cluster := exampleNet(typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT)
	cluster.reject = true
	defer cluster.stop()

	ctx := context.Background()
	c, err := Dial(ctx, Options{Addresses: []string{"n1.example:7301"}, Dialer: cluster.dial})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	_, err = c.Transition(ctx, "order-1", "ship", "shipped", WithVerdictWait(0))
	var deviation *DeviationError
	switch {
	case errors.As(err, &deviation):
		fmt.Println("deviates at seq", deviation.Response.GetSeq())
	case errors.Is(err, ErrInstanceNotFound):
		fmt.Println("no such instance")
	case err != nil:
		log.Fatal(err)
	}
	// Output: deviates at seq 1
}

// When a call is given up, the same request id tells later whether it was applied.
func ExampleWithRequestID() {
	cluster := exampleNet()
	defer cluster.stop()

	ctx := context.Background()
	c, err := Dial(ctx, Options{Addresses: []string{"n1.example:7301"}, Dialer: cluster.dial})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	const id = "0192f0c1-7b7a-7c3e-8d59-3f1f1c1e6a10"
	for range 2 {
		step, err := c.Transition(ctx, "order-1", "pay", "paid", WithRequestID(id))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(step.GetSeq(), step.GetDuplicate())
	}
	// Output:
	// 1 false
	// 1 true
}

// A stream records many steps without waiting for each.
func ExampleClient_Stream() {
	cluster := exampleNet()
	defer cluster.stop()

	ctx := context.Background()
	c, err := Dial(ctx, Options{Addresses: []string{"n1.example:7301"}, Dialer: cluster.dial})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	s, err := c.Stream(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	go func() {
		for _, action := range []string{"pick", "pack", "ship"} {
			if _, err := s.Send(ctx, &spexv1.TransitionRequest{Id: "order-1", Action: action, ToState: action}); err != nil {
				return // Recv says why
			}
		}
		s.CloseSend()
	}()
	for {
		r, err := s.Recv(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ResultError(r)
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.GetResponse().GetSeq(), r.GetResponse().GetState())
	}
	// Output:
	// 1 pick
	// 2 pack
	// 3 ship
}
