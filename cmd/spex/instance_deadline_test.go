package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

// spex instance get shows by when a step is due, that none came, and when the
// instance goes; nothing of it where there is nothing.
func TestInstanceShowsDeadlines(t *testing.T) {
	at := timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	for _, tc := range []struct {
		name     string
		instance *spexv1.Instance
		want     []string
		note     string
	}{
		{"none", &spexv1.Instance{}, nil, ""},
		{"to come", &spexv1.Instance{Deadline: at}, []string{"deadline 2026-01-02 03:04:05.000Z"}, ""},
		{"passed", &spexv1.Instance{Deadline: at, TimedOut: true}, []string{"timed out no step came until 2026-01-02 03:04:05.000Z"}, "timed out"},
		{"pruned", &spexv1.Instance{PruneAt: at}, []string{"pruned after 2026-01-02 03:04:05.000Z"}, ""},
		{"both", &spexv1.Instance{Deadline: at, PruneAt: at, OffModel: true, TimedOut: true},
			[]string{"timed out no step came until 2026-01-02 03:04:05.000Z", "pruned after 2026-01-02 03:04:05.000Z"}, "off the model, timed out"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b strings.Builder
			i := instanceToJSON(tc.instance)
			drawInstance(&b, painter{}, instanceHistoryJSON{instanceJSON: i}, 0)
			var got []string
			for line := range strings.Lines(b.String()) {
				line = strings.Join(strings.Fields(line), " ")
				for _, name := range []string{"deadline ", "timed out ", "pruned after "} {
					if strings.HasPrefix(line, name) {
						got = append(got, line)
					}
				}
			}
			if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("shown is %q, want %q", got, tc.want)
			}
			if note := instanceNote(i).text; note != tc.note {
				t.Errorf("the note is %q, want %q", note, tc.note)
			}
		})
	}
}
