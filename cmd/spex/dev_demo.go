package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
	"github.com/spexio/spex/transport"
)

const demoSpec = `name: order
initial_state: cart
transitions:
  - {from: cart, action: checkout, to: pending}
  - {from: pending, action: pay, to: paid}
  - {from: pending, action: cancel, to: cancelled}
  - {from: paid, action: ship, to: shipped}
  - {from: paid, action: refund, to: refunded}
  - {from: shipped, action: deliver, to: delivered}
  - {from: shipped, action: return, to: refunded}
`

type demoStep struct{ action, state string }

var (
	// demoRuns together show every transition of the specification.
	demoRuns = [][]demoStep{
		{{"checkout", "pending"}, {"pay", "paid"}, {"ship", "shipped"}, {"deliver", "delivered"}},
		{{"checkout", "pending"}, {"cancel", "cancelled"}},
		{{"checkout", "pending"}, {"pay", "paid"}, {"refund", "refunded"}},
		{{"checkout", "pending"}, {"pay", "paid"}, {"ship", "shipped"}, {"return", "refunded"}},
	}
	// demoBugs are what a careless release might do.
	demoBugs = [][]demoStep{
		{{"checkout", "pending"}, {"ship", "shipped"}, {"deliver", "delivered"}},
		{{"checkout", "pending"}, {"pay", "paid"}, {"pay", "paid"}, {"ship", "shipped"}},
		{{"checkout", "pending"}, {"pay", "paid"}, {spec.Internal, "in_review"}, {"ship", "shipped"}},
	}
)

// runDemo learns a model of an order workflow, seals it, and then lets orders
// run for as long as ctx lasts, some of them wrong.
func (a *app) runDemo(ctx context.Context, nodes []*transport.Server) error {
	var addrs []string
	for _, s := range nodes {
		addrs = append(addrs, s.Addr())
	}
	c, err := client.Dial(ctx, client.Options{Addresses: addrs, Namespace: a.namespace(), Timeout: a.opts.timeout})
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := spec.Parse("order.yaml", []byte(demoSpec))
	if err != nil {
		return err
	}
	if _, err := c.ApplySpecification(ctx, s.Proto()); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "\ndemo: the specification \"order\" is applied; its model learns from four orders, then is sealed")
	if _, err := c.LearnModel(ctx, "order"); err != nil {
		return err
	}
	for _, run := range demoRuns {
		if err := a.demoOrder(ctx, c, run, false); err != nil {
			return err
		}
	}
	sealed, err := c.SealModel(ctx, "order")
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "demo: the model has %d transitions and is %s to the specification\n", sealed.GetModel().GetTransitions(), equivalentWord(sealed.GetModel().GetEquivalent()))
	fmt.Fprintf(a.stdout, "demo: orders run now, one in five with a bug; what deviates is printed here\n\n")
	a.sayNext(addrs[0])
	for i := 0; ctx.Err() == nil; i++ {
		run := demoRuns[rand.N(len(demoRuns))]
		if i%5 == 1 {
			run = demoBugs[i/5%len(demoBugs)]
		}
		if err := a.demoOrder(ctx, c, run, true); err != nil {
			return err
		}
		timer := time.NewTimer(300 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}

func equivalentWord(equivalent bool) string {
	if equivalent {
		return "equivalent"
	}
	return "not equivalent"
}

func (a *app) demoOrder(ctx context.Context, c *client.Client, run []demoStep, show bool) error {
	id := "order-" + uuid.NewString()[:8]
	if _, err := c.Init(ctx, "order", id); err != nil {
		return err
	}
	for _, step := range run {
		resp, err := c.Transition(ctx, id, step.action, step.state, client.WithVerdictWait(5*time.Second))
		var deviation *client.DeviationError
		if err != nil && !errors.As(err, &deviation) {
			return err
		}
		if show && resp.GetVerdict() != typesv1.Verdict_VERDICT_OK {
			a.showDeviation(resp)
		}
	}
	return nil
}

func (a *app) showDeviation(r *spexv1.StepResponse) {
	fmt.Fprintf(a.stdout, "%s  %s  seq %d  %s --[%s]-> %s  %s\n", a.now().Format("15:04:05"), r.GetId(), r.GetSeq(),
		r.GetFromState(), r.GetAction(), r.GetState(), showVerdict(verdictName(r.GetVerdict())))
	if text := r.GetJudgement().GetExplanation(); text != "" {
		fmt.Fprintf(a.stdout, "          %s\n", text)
	}
}

// sayNext prints what to try from another terminal.
func (a *app) sayNext(addr string) {
	flag := ""
	if addr != defaultAddr {
		flag = " --addr " + addr
	}
	fmt.Fprintln(a.stdout, "Try from another terminal (spex is `go run ./cmd/spex` in a checkout):")
	for _, line := range [][2]string{
		{"spex deviations", "what deviated, how often, where first and last"},
		{"spex model get order", "the model that was learned"},
		{"spex instance list --limit 5", "some orders"},
		{"spex instance get ID", "one order with its history and verdicts"},
		{"spex cluster status", "nodes, shards, leaders, lag"},
		{"spex bench --duration 5s", "how fast it is here"},
	} {
		fmt.Fprintf(a.stdout, "  %-34s %s\n", line[0]+flag, line[1])
	}
	fmt.Fprintln(a.stdout, "Stop with Ctrl-C.")
	fmt.Fprintln(a.stdout)
}
