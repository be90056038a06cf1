package api

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// TestWatchRequests crosses every rule of a watch.
func TestWatchRequests(t *testing.T) {
	names := make([]string, MaxWatchSpecs+1)
	for i := range names {
		names[i] = "s"
	}
	for what, c := range map[string]struct {
		req  *spexv1.WatchRequest
		want string // in the error; empty for none
	}{
		"nothing":            {&spexv1.WatchRequest{}, ""},
		"everything":         {&spexv1.WatchRequest{AllNamespaces: true, Specs: []string{"a/b"[:1]}, Kinds: []typesv1.ReportKind{typesv1.ReportKind_REPORT_KIND_PRUNED}, From: spexv1.WatchRequest_FROM_OLDEST}, ""},
		"a cursor":           {&spexv1.WatchRequest{Cursor: "x"}, ""},
		"both namespaces":    {&spexv1.WatchRequest{AllNamespaces: true, Namespace: "a"}, "all_namespaces"},
		"a bad namespace":    {&spexv1.WatchRequest{Namespace: "a\n"}, "namespace"},
		"a bad spec":         {&spexv1.WatchRequest{Specs: []string{"ok", "a/b"}}, "specs[1]"},
		"too many specs":     {&spexv1.WatchRequest{Specs: names}, "specs has 101 names"},
		"an unknown kind":    {&spexv1.WatchRequest{Kinds: []typesv1.ReportKind{77}}, "kinds[0]"},
		"no kind":            {&spexv1.WatchRequest{Kinds: []typesv1.ReportKind{0}}, "kinds[0]"},
		"too many kinds":     {&spexv1.WatchRequest{Kinds: make([]typesv1.ReportKind, 100)}, "kinds has 100"},
		"an unknown start":   {&spexv1.WatchRequest{From: 9}, "from"},
		"start and cursor":   {&spexv1.WatchRequest{From: spexv1.WatchRequest_FROM_NOW, Cursor: "x"}, "from"},
		"a long cursor":      {&spexv1.WatchRequest{Cursor: strings.Repeat("x", MaxCursorBytes+1)}, "cursor"},
		"a short heartbeat":  {&spexv1.WatchRequest{Heartbeat: durationpb.New(time.Millisecond)}, "heartbeat"},
		"a long heartbeat":   {&spexv1.WatchRequest{Heartbeat: durationpb.New(time.Hour)}, "heartbeat"},
		"a broken heartbeat": {&spexv1.WatchRequest{Heartbeat: &durationpb.Duration{Seconds: 1, Nanos: -1}}, "heartbeat"},
	} {
		err := CheckWatch(c.req)
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", what, err, c.want)
		case c.want == "" && (c.req.Heartbeat.AsDuration() != DefaultHeartbeat || (c.req.Namespace == "") != c.req.AllNamespaces):
			t.Errorf("%s is not completed: %v", what, c.req)
		}
	}
}
