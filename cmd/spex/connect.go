package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/spexio/spex/client"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// minAttempt keeps one attempt from being cut short when --timeout is small.
const minAttempt = 2 * time.Second

// connect makes a client for the servers of the command line. One server may
// take the time attempt before another is asked. It does not wait for the
// network. The caller closes the client.
func (a *app) connect(ctx context.Context, attempt time.Duration) (*client.Client, error) {
	addrs, err := a.addresses()
	if err != nil {
		return nil, err
	}
	return client.Dial(ctx, client.Options{
		Addresses:      addrs,
		Namespace:      a.namespace(),
		Timeout:        a.opts.timeout,
		AttemptTimeout: attempt,
	})
}

// withClient runs body with a client that it closes afterwards.
func (a *app) withClient(ctx context.Context, body func(c *client.Client) error) error {
	// A server that hangs must leave time to ask another one.
	return a.withQuietClient(ctx, max(a.opts.timeout/3, minAttempt), func(c *client.Client) error {
		defer a.noticeWaiting()()
		return body(c)
	})
}

// withQuietClient is withClient for commands that show progress of their own.
func (a *app) withQuietClient(ctx context.Context, attempt time.Duration, body func(c *client.Client) error) error {
	c, err := a.connect(ctx, attempt)
	if err != nil {
		return err
	}
	return errors.Join(body(c), c.Close())
}

// serverVersion asks a server for its version.
func (a *app) serverVersion(ctx context.Context) (*serverVersionJSON, error) {
	var out *serverVersionJSON
	err := a.withClient(ctx, func(c *client.Client) error {
		v, err := c.Version(ctx)
		if err != nil {
			return err
		}
		out = &serverVersionJSON{Version: v.GetVersion(), FeatureLevel: v.GetFeatureLevel(), GoVersion: v.GetGoVersion()}
		return nil
	})
	return out, err
}

// newestVersions looks up the specifications of the namespace and the newest
// version of each. It is nil when that cannot be had: no command needs it for its
// answer, only to say more about it.
func newestVersions(ctx context.Context, c *client.Client) map[string]uint64 {
	resp, err := c.ListSpecifications(ctx)
	if err != nil {
		return nil
	}
	newest := map[string]uint64{}
	for _, s := range resp.GetSpecifications() {
		newest[s.GetName()] = s.GetVersion()
	}
	return newest
}

// specLookup bounds the look for specifications whose names only make a warning.
const specLookup = 2 * time.Second

// warnUnknownSpec says so when nothing was found for want of the specification
// that was asked for, which is what a typing error looks like.
func (a *app) warnUnknownSpec(ctx context.Context, c *client.Client, name string) {
	if name != "" {
		a.warnUnknownSpecs(ctx, c, []string{name})
	}
}

// warnUnknownSpecs is warnUnknownSpec for several.
func (a *app) warnUnknownSpecs(ctx context.Context, c *client.Client, names []string) {
	if len(names) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, specLookup)
	defer cancel()
	newest := newestVersions(ctx, c)
	for _, name := range names {
		if newest != nil && newest[name] == 0 {
			a.warnf("there is no specification %q in the namespace %q: see 'spex spec list' and --namespace", name, a.namespace())
		}
	}
}

// hints says, for the reasons of the API that a user can do something about, what.
var hints = map[typesv1.Reason]string{
	typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND:            "see 'spex spec list' and --namespace, or apply it with 'spex spec apply FILE'",
	typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND:               "import a model with 'spex model import FILE', or begin learning with 'spex model learn SPEC'",
	typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND:      "see 'spex instance list' and --namespace, or begin it with 'spex instance init SPEC ID'",
	typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE: "choose another id, or delete the instance with 'spex instance delete ID'",
	typesv1.Reason_REASON_SEQUENCE_MISMATCH:                  "another writer moved the instance: look at 'spex instance get ID'",
	typesv1.Reason_REASON_REQUEST_ID_REUSED:                  "the same request id was used for another step: did the log or its order change? Use another --prefix",
	typesv1.Reason_REASON_OUTCOME_UNKNOWN:                    "the request is too old to tell whether it was applied: look at 'spex instance get ID'",
	typesv1.Reason_REASON_NO_LEADER:                          "the shard has no leader: see 'spex cluster status', and try again when a majority of its replicas runs",
	typesv1.Reason_REASON_NOT_LEADER:                         "try again: the leader is changing",
	typesv1.Reason_REASON_QUEUE_FULL:                         "the cluster is busy: try again, or send less at once",
	typesv1.Reason_REASON_MODEL_LIMIT:                        "does an identifier or a time occur in the names of states? Models are for a bounded set of states",
	typesv1.Reason_REASON_MODEL_MODE:                         "see the mode in 'spex model list'",
	typesv1.Reason_REASON_SEAL_ABORTED:                       "the model learns again: see 'spex cluster status' for the shard that stays away, then seal again",
	typesv1.Reason_REASON_WRONG_CLUSTER:                      "check --addr",
	typesv1.Reason_REASON_GROUP_HALTED:                       "look at the log of that server: it needs a newer release or repair",
}

// hintFor says what a user can do about a failure of the API; "" when there is nothing to say.
func hintFor(failure *client.Error) string {
	if hint := hints[failure.Reason]; hint != "" {
		return hint
	}
	if failure.Code == codes.Unimplemented {
		return "the server is older than this command, or the address is not a client listener: check --addr"
	}
	return ""
}

// unreachable tells whether no server was behind a failure: gRPC could not
// connect. A server that is not ready says so with a detail.
func unreachable(failure *client.Error) bool {
	for _, cause := range failure.Unwrap() {
		st, ok := status.FromError(cause)
		if ok && st.Code() == codes.Unavailable && len(st.Details()) == 0 {
			return true
		}
	}
	return false
}

// noticeAfter is how long a person waits before being told for what.
const noticeAfter = 2 * time.Second

// noticeWaiting tells a person at a terminal that the servers are slow to
// answer. The returned function ends it.
func (a *app) noticeWaiting() (stop func()) {
	addrs, err := a.addresses()
	if err != nil || !a.stderrTTY {
		return func() {}
	}
	var drawing sync.WaitGroup
	drawing.Add(1)
	timer := time.AfterFunc(noticeAfter, func() {
		defer drawing.Done()
		a.notef("waiting for an answer of %s ...", strings.Join(addrs, ", "))
	})
	return func() {
		if timer.Stop() {
			drawing.Done()
		}
		drawing.Wait()
	}
}
