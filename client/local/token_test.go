package local

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/spexio/spex/client"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// A page token that another call gave out, or nobody, is refused: it would be
// taken for a place in the middle, and what is before it left out.
func TestForeignPageTokens(t *testing.T) {
	ctx := testContext(t)
	e, err := newEngine(ctx, Options{JudgeBudget: time.Second, SnapshotBytes: 1 << 20, Now: time.Now, ManagerOptions: client.ManagerOptions{Logger: slog.New(slog.DiscardHandler)}}, memory{})
	if err != nil {
		t.Fatal(err)
	}
	m := must(client.NewManager(e, client.ManagerOptions{}))(t)
	defer closed(t, m)
	must(m.ApplySpecification(ctx, point("point")))(t)
	for i := range 3 {
		must(m.Init(ctx, "point", fmt.Sprint("i", i)))(t)
	}
	must(m.Transition(ctx, "i0", "a", "s"))(t)
	calls := map[string]func(token string) (next string, err error){
		"list": func(token string) (string, error) {
			resp, err := e.ListInstances(ctx, &spexv1.ListInstancesRequest{PageSize: 1, PageToken: token})
			return resp.GetNextPageToken(), err
		},
		"history": func(token string) (string, error) {
			resp, err := e.GetHistory(ctx, &spexv1.GetHistoryRequest{Id: "i0", PageSize: 1, PageToken: token})
			return resp.GetNextPageToken(), err
		},
		"deletion": func(token string) (string, error) {
			resp, err := e.DeleteMatching(ctx, &spexv1.DeleteMatchingRequest{Where: "true", DryRun: true, PageToken: token})
			return resp.GetNextPageToken(), err
		},
	}
	tokens := map[string]string{
		"none":     "*",
		"nobody":   "junk",
		"a place":  base64.RawURLEncoding.EncodeToString([]byte("i1")),
		"deletion": sealToken(deletionToken, []byte("i1")), // whose pages are large
	}
	for _, name := range []string{"list", "history"} {
		if tokens[name], err = calls[name](""); err != nil || tokens[name] == "" {
			t.Fatalf("%s: %q, %v", name, tokens[name], err)
		}
	}
	for name, call := range calls {
		for from, token := range tokens {
			if _, err := call(token); (err == nil) != (from == name) || err != nil && !errors.Is(err, client.ErrInvalidArgument) {
				t.Errorf("a %s with the token of %s: %v", name, from, err)
			}
		}
		if _, err := call(tokens[name][2:]); !errors.Is(err, client.ErrInvalidArgument) {
			t.Errorf("a %s with half a token: %v", name, err)
		}
	}
	d, err := m.DeleteMatching(ctx, client.DeleteFilter{Where: "true", Resume: "junk"})
	if !errors.Is(err, client.ErrInvalidArgument) || d.Deleted != 0 {
		t.Errorf("got %+v, %v", d, err)
	}
}
