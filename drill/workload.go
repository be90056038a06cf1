package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Defaults of Config.
const (
	DefaultSpec        = "spex-drill"
	DefaultGroups      = 4
	DefaultClients     = 3
	DefaultInstanceOps = 40
	DefaultCallTimeout = 4 * time.Second
	DefaultThink       = 5 * time.Millisecond
	DefaultProbeEvery  = 50 * time.Millisecond
	DefaultProbeSteps  = 20_000
)

// Limits of Config: with more, the search for a linearization takes too long.
const (
	MaxGroups      = 256
	MaxClients     = 8
	MaxInstanceOps = 200
)

// Config says what a Workload does. Only Addresses is required.
type Config struct {
	// Addresses are those of the nodes for clients.
	Addresses []string
	// Namespace of the instances; empty means "default".
	Namespace string
	// Spec is the name of the specification that is applied; empty means DefaultSpec.
	Spec string
	// Prefix begins the identifiers of all instances; empty means one made of Spec,
	// Seed and the time. Two workloads must not share it within the time for which
	// request ids are remembered.
	Prefix string
	// Seed decides what the clients do. How they interleave is up to the machine.
	Seed uint64
	// Groups of Clients share one instance at a time, and go on to the next one after
	// InstanceOps calls on it. 0 means DefaultGroups, DefaultClients, DefaultInstanceOps.
	Groups, Clients, InstanceOps int
	// Pinned of the Clients of each group talk to one node alone, whatever happens to
	// it, and mostly read: a node that was away is asked at once when it is back. 0
	// means one if there are others; a negative value means none.
	Pinned int
	// Operations ends the workload after about so many calls, without those of
	// probes; 0 means when its context ends.
	Operations int
	// CallTimeout is how long a call may take, retries of the client included; 0
	// means DefaultCallTimeout. A write that takes longer has an unknown outcome.
	CallTimeout time.Duration
	// Think is the longest time between two calls of one client; 0 means DefaultThink.
	Think time.Duration
	// ProbeEvery is how often each shard is written to by its probe, which measures
	// outages; 0 means DefaultProbeEvery, a negative value means no probes.
	ProbeEvery time.Duration
	// ProbeSteps is how many steps a probe takes before it goes on with another
	// instance; 0 means DefaultProbeSteps, far below what a history keeps.
	ProbeSteps int
	// Dial makes the clients; nil means client.Dial. Options is what they get
	// beside addresses, namespace and timeouts, for example TLS.
	Dial    func(context.Context, client.Options) (*client.Client, error)
	Options client.Options
	// Logger is told what is unusual; nil means silence.
	Logger *slog.Logger
}

// withDefaults fills in the defaults, or says what is wrong.
func (c Config) withDefaults() (Config, error) {
	if len(c.Addresses) == 0 {
		return c, errors.New("drill: Config.Addresses is empty: give the host:port of the nodes for clients")
	}
	c.Spec = cmp.Or(c.Spec, DefaultSpec)
	c.Prefix = cmp.Or(c.Prefix, fmt.Sprintf("%s-%x-%x", c.Spec, c.Seed, time.Now().UnixMilli()))
	c.Groups = cmp.Or(c.Groups, DefaultGroups)
	c.Clients = cmp.Or(c.Clients, DefaultClients)
	c.InstanceOps = cmp.Or(c.InstanceOps, DefaultInstanceOps)
	c.CallTimeout = cmp.Or(c.CallTimeout, DefaultCallTimeout)
	c.Think = cmp.Or(c.Think, DefaultThink)
	c.ProbeEvery = cmp.Or(c.ProbeEvery, DefaultProbeEvery)
	c.ProbeSteps = cmp.Or(c.ProbeSteps, DefaultProbeSteps)
	for _, l := range []struct {
		name        string
		value, most int
	}{{"Groups", c.Groups, MaxGroups}, {"Clients", c.Clients, MaxClients}, {"InstanceOps", c.InstanceOps, MaxInstanceOps}} {
		if l.value < 1 || l.value > l.most {
			return c, fmt.Errorf("drill: Config.%s is %d: use 1 to %d", l.name, l.value, l.most)
		}
	}
	if c.Pinned == 0 && c.Clients > 1 {
		c.Pinned = 1
	}
	if c.Pinned >= c.Clients && c.Clients > 1 {
		return c, fmt.Errorf("drill: Config.Pinned is %d of %d clients: leave one that can go elsewhere", c.Pinned, c.Clients)
	}
	if c.Operations < 0 || c.CallTimeout < 0 || c.Think < 0 || c.ProbeSteps < 0 {
		return c, errors.New("drill: Config.Operations, CallTimeout, Think or ProbeSteps is negative")
	}
	if c.Dial == nil {
		c.Dial = client.Dial
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Workload is a number of clients that record what they do. Its methods are for
// one goroutine, but for Acknowledged and Done.
type Workload struct {
	cfg   Config
	start time.Time
	// control applies the specification and reads the end.
	control *client.Client

	mark   atomic.Int64
	calls  atomic.Int64
	acked  atomic.Int64
	probed atomic.Int64 // identifiers of probes

	mu         sync.Mutex // guards the fields below
	operations []Operation
	probes     []Operation
	instances  []string
}

// NewWorkload checks the configuration.
func NewWorkload(cfg Config) (*Workload, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Workload{cfg: cfg}, nil
}

// Acknowledged is how many writes were answered until now, probes included. It is
// safe to call while Run is under way.
func (w *Workload) Acknowledged() int64 { return w.acked.Load() }

// Since is the time since Run began to make calls, as in the History, for t. It
// is to be called only once Acknowledged is above 0.
func (w *Workload) Since(t time.Time) time.Duration { return t.Sub(w.start) }

// setupTime is how long the specification may take to be known everywhere.
const setupTime = time.Minute

// Setup applies the specification and seals its model, within a minute. Run does
// so by itself; a caller that wants to break the cluster from the first call on
// calls it before.
func (w *Workload) Setup(ctx context.Context) error {
	if w.control != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	c, err := w.dial(ctx, 0, false)
	if err != nil {
		return err
	}
	sp, model := specification(w.cfg.Spec, w.cfg.Clients)
	if _, err := c.ApplySpecification(ctx, sp); err != nil {
		return errors.Join(fmt.Errorf("drill: apply the specification %s: %w", w.cfg.Spec, err), c.Close())
	}
	imported, err := c.ImportModel(ctx, w.cfg.Spec, false, model)
	if err != nil {
		return errors.Join(fmt.Errorf("drill: import the model of %s: %w", w.cfg.Spec, err), c.Close())
	}
	if imported.GetModel().GetMode() != typesv1.ModelMode_MODEL_MODE_SEALED {
		if _, err := c.SealModel(ctx, w.cfg.Spec); err != nil {
			return errors.Join(fmt.Errorf("drill: seal the model of %s: %w", w.cfg.Spec, err), c.Close())
		}
	}
	w.control = c
	return nil
}

// Close ends the connections. The instances and the specification stay.
func (w *Workload) Close() error {
	if w.control == nil {
		return nil
	}
	return w.control.Close()
}

// dial makes a client. A pinned one talks to one node alone, so that a node that
// was away is asked for stale answers as soon as it is back.
func (w *Workload) dial(ctx context.Context, n int, pinned bool) (*client.Client, error) {
	o := w.cfg.Options
	k := n % len(w.cfg.Addresses)
	o.Addresses = slices.Concat(w.cfg.Addresses[k:], w.cfg.Addresses[:k])
	o.Namespace, o.Timeout = w.cfg.Namespace, w.cfg.CallTimeout
	o.AttemptTimeout = w.cfg.CallTimeout / 3
	if pinned {
		o.Addresses, o.AttemptTimeout = o.Addresses[:1], -1
	}
	c, err := w.cfg.Dial(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	return c, nil
}

// Run makes calls until ctx ends, or Config.Operations are made, waits for the
// last answers, and returns all. An error means that the workload could not be
// set up: what goes wrong later is in the history.
func (w *Workload) Run(ctx context.Context) (*History, error) {
	if err := w.Setup(ctx); err != nil {
		return nil, err
	}
	var clients []*client.Client
	defer func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w.start = time.Now()
	var work, probes sync.WaitGroup
	for g := range w.cfg.Groups {
		in := &group{w: w, number: g}
		for k := range w.cfg.Clients {
			n := g*w.cfg.Clients + k
			pinned := k >= w.cfg.Clients-w.cfg.Pinned
			c, err := w.dial(ctx, g+k, pinned)
			if err != nil {
				stop()
				work.Wait()
				return nil, err
			}
			clients = append(clients, c)
			p := &player{w: w, c: c, group: in, number: n, lane: k, pinned: pinned, rng: rand.New(rand.NewPCG(w.cfg.Seed, uint64(n)))}
			work.Go(func() { p.play(ctx) })
		}
	}
	if w.cfg.ProbeEvery > 0 {
		probes.Go(func() { w.probe(ctx) })
	}
	work.Wait()
	stop()
	probes.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	h := &History{Start: w.start, Seed: w.cfg.Seed, Operations: w.operations, Probes: w.probes, Duration: time.Since(w.start)}
	for _, ops := range [][]Operation{h.Operations, h.Probes} {
		slices.SortStableFunc(ops, func(a, b Operation) int { return cmp.Compare(a.Return, b.Return) })
	}
	return h, nil
}

// add records calls.
func (w *Workload) add(ops ...Operation) {
	for i := range ops {
		if ops[i].Outcome == OK && ops[i].Kind.writes() {
			w.acked.Add(1)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.operations = append(w.operations, ops...)
}

// knows records an identifier, to be read at the end.
func (w *Workload) knows(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instances = append(w.instances, id)
}

// now is the time since the beginning.
func (w *Workload) now() time.Duration { return time.Since(w.start) }

const (
	// states is how many states the instances move between.
	states = 4
	// variants is how many actions each client of a group has, so that no two of
	// its steps at one place of an instance have the same body.
	variants = 64
	// wrongAction is in no specification.
	wrongAction = "drill-wrong"
	// silentAction is the internal one: as all states are equivalent, a step with it
	// that the model does not know changes nothing that can be seen.
	silentAction = "__internal__"
	initAction   = "__initialisation__"
)

func stateName(i int) string { return fmt.Sprintf("s%d", i%states) }

func actionName(lane, variant int) string { return fmt.Sprintf("c%d.%d", lane, variant%variants) }

// specification is one state with a loop for each action, and a model of it in
// which every action leads from everywhere to the state of its variant.
func specification(name string, clients int) (*typesv1.Specification, []*typesv1.Transition) {
	accept := typesv1.ErrorAction_ERROR_ACTION_ACCEPT
	sp := &typesv1.Specification{
		Name: name, InitialState: "any", HistoryLimit: 100_000,
		ErrorPolicy: &typesv1.ErrorPolicy{DeviationStillEquivalent: accept, DeviationNotEquivalent: accept},
		// What is left of a drill goes away by itself.
		PruneTimeout: durationpb.New(7 * 24 * time.Hour), PrunableStates: &typesv1.PrunableStates{Kind: typesv1.PrunableStates_KIND_ALL},
	}
	model := []*typesv1.Transition{{Action: initAction, To: stateName(0)}}
	for lane := range clients {
		for v := range variants {
			action := actionName(lane, v)
			sp.Transitions = append(sp.Transitions, &typesv1.Transition{From: "any", Action: action, To: "any"})
			for from := range states {
				model = append(model, &typesv1.Transition{From: stateName(from), Action: action, To: stateName(v)})
			}
		}
	}
	return sp, model
}

// expectedVerdict is the only right one for a step.
func expectedVerdict(action string) typesv1.Verdict {
	switch action {
	case wrongAction:
		return typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
	case silentAction:
		return typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
	}
	return typesv1.Verdict_VERDICT_OK
}
