package spextest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spexio/spex/client"
	"github.com/spexio/spex/spextest"
)

// order is the program under test: it reports its steps to any manager.
type order struct {
	m  client.Manager
	id string
}

func (o order) ship(ctx context.Context) error {
	_, err := o.m.Transition(ctx, o.id, "ship", "shipped")
	return err
}

// suite stands for the *testing.M of a TestMain.
type suite struct{}

func (suite) Run() int {
	ctx := context.Background()
	o := order{spextest.Manager(), "order-1"}
	if _, err := o.m.Init(ctx, "orders", o.id); err != nil {
		return 1
	}
	if err := o.ship(ctx); err != nil {
		return 1
	}
	return 0
}

// In a package's tests this is
//
//	func TestMain(m *testing.M) {
//		os.Exit(spextest.Run(m, spextest.Specs("testdata/orders.yaml"), spextest.Dir("testdata/spex")))
//	}
func Example() {
	dir, err := os.MkdirTemp("", "spextest")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	specs := filepath.Join(dir, "orders.yaml")
	if err := os.WriteFile(specs, []byte("name: orders\ntransitions:\n  - {from: new, action: ship, to: shipped}\n"), 0o600); err != nil {
		panic(err)
	}
	code := spextest.Run(suite{}, spextest.Specs(specs), spextest.Dir(dir), spextest.Merge(), spextest.Output(os.Stdout))
	fmt.Println(code)
	// Output:
	// spextest: orders: equivalent, 2 transitions
	// 0
}
