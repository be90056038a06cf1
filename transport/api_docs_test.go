package transport

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/query"
	"github.com/spexio/spex/spec"
)

func apiPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestPageNamesEveryReasonWithItsCode holds the table of errors to the code.
func TestPageNamesEveryReasonWithItsCode(t *testing.T) {
	rows := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| `([A-Z_]+)` \\| ").FindAllStringSubmatch(apiPage(t), -1) {
		rows[m[1]] = m[2]
	}
	for n, name := range typesv1.Reason_name {
		if n == 0 {
			continue
		}
		var listed codes.Code
		row := rows[strings.TrimPrefix(name, "REASON_")]
		if err := listed.UnmarshalJSON([]byte(fmt.Sprintf("%q", row))); err != nil || listed != CodeOf(typesv1.Reason(n)) {
			t.Errorf("%s is listed with %q, and travels as %v", name, row, CodeOf(typesv1.Reason(n)))
		}
		delete(rows, strings.TrimPrefix(name, "REASON_"))
	}
	if len(rows) != 0 {
		t.Errorf("the page lists what does not exist: %v", rows)
	}
}

// TestPageNamesEveryCallWithItsKind holds the table of calls to the schema.
func TestPageNamesEveryCallWithItsKind(t *testing.T) {
	page := apiPage(t)
	check := func(service, method, kind string) {
		t.Helper()
		if row := fmt.Sprintf("| `%s/%s` | %s |", strings.TrimPrefix(service, "spex.v1."), method, kind); !strings.Contains(page, row) {
			t.Errorf("missing: %s", row)
		}
	}
	for _, d := range []grpc.ServiceDesc{spexv1.InstanceService_ServiceDesc, spexv1.SpecificationService_ServiceDesc,
		spexv1.ModelService_ServiceDesc, spexv1.ClusterService_ServiceDesc, spexv1.WatchService_ServiceDesc} {
		for _, m := range d.Methods {
			check(d.ServiceName, m.MethodName, "unary")
		}
		for _, s := range d.Streams {
			switch {
			case s.ClientStreams && s.ServerStreams:
				check(d.ServiceName, s.StreamName, "both sides stream")
			case s.ClientStreams:
				check(d.ServiceName, s.StreamName, "client streams")
			default:
				check(d.ServiceName, s.StreamName, "server streams")
			}
		}
	}
}

// TestPageNamesTheLimits holds the table of limits, and the deadlines, to the constants.
func TestPageNamesTheLimits(t *testing.T) {
	page := apiPage(t)
	for _, want := range []string{
		fmt.Sprintf("| instance `id` | 1 to %d bytes |", spec.MaxIdentifierBytes),
		fmt.Sprintf("| state, action | 1 to %d bytes |", spec.MaxNameBytes),
		fmt.Sprintf("| `namespace` | up to %d bytes |", spec.MaxNamespaceBytes),
		fmt.Sprintf("| specification name | 1 to %d bytes |", spec.MaxSpecNameBytes),
		fmt.Sprintf("| `request_id` | up to %d bytes |", spec.MaxRequestIDBytes),
		fmt.Sprintf("| `meta` | up to %d keys, %d bytes in keys and values together |", spec.MaxMetaKeys, spec.MaxMetaBytes),
		fmt.Sprintf("| one command | up to %d bytes encoded |", spec.MaxCommandBytes),
		fmt.Sprintf("| steps of a batch | up to %d |", spec.MaxBatch),
		fmt.Sprintf("| `page_size` | up to %d; by default %d for `ListInstances`, %d for `GetHistory` |", spec.MaxPage, api.DefaultListPage, spec.MaxPage),
		fmt.Sprintf("| `page_token` | up to %d bytes |", api.MaxPageTokenBytes),
		fmt.Sprintf("| `where` of `ListInstances` and `DeleteMatching` | up to %d bytes;", query.MaxBytes),
		fmt.Sprintf("| `limit` of `ListDeviations` | up to %d; by default %d |", api.MaxDeviations, api.DefaultDeviations),
		fmt.Sprintf("| transitions of one acceptance or rejection | 1 to %d |", api.MaxReviewed),
		fmt.Sprintf("| `owner` of a review | 1 to %d bytes |", api.MaxOwnerBytes),
		fmt.Sprintf("| `reason` of a review | 1 to %d bytes |", api.MaxReasonBytes),
		fmt.Sprintf("| transitions of a specification's version with a review | up to %d |", fsm.MaxReviews),
		fmt.Sprintf("| `limit` of `ListModelHistory`, and what is kept | up to %d; by default %d |", api.MaxModelEvents, api.MaxModelEvents),
		fmt.Sprintf("| transitions of a specification | up to %d |", spec.MaxTransitions),
		fmt.Sprintf("| an encoded specification | up to %d bytes |", api.MaxUploadBytes),
		fmt.Sprintf("| transitions of a model, and of one import | up to %d |", spec.MaxModelTransitions),
		fmt.Sprintf("| kept steps of a history | %d by default, up to %d by specification |", spec.DefaultHistoryLimit, spec.MaxHistoryLimit),
		fmt.Sprintf("| one message to the server | up to %d bytes |", MaxRequestBytes),
		fmt.Sprintf("| one message from the server | up to %d bytes: ", MaxResponseBytes),
		fmt.Sprintf("| unanswered steps of a stream | %d |", DefaultStreamWindow),
		fmt.Sprintf("| `specs` of a watch | up to %d |", api.MaxWatchSpecs),
		fmt.Sprintf("| `cursor` of a watch | up to %d bytes |", api.MaxCursorBytes),
		fmt.Sprintf("| `heartbeat` of a watch | %d ms to %d min; by default %d s |", api.MinHeartbeat/time.Millisecond, api.MaxHeartbeat/time.Minute, api.DefaultHeartbeat/time.Second),
		fmt.Sprintf("| concurrent calls of a connection | %d |", maxStreamsPerConnection),
		fmt.Sprintf("A call without one gets %d s. The server ends calls after %d s", DefaultRequestTimeout/time.Second, DefaultMaxTimeout/time.Second),
		fmt.Sprintf("%d min, whatever", DefaultMaxSealTimeout/time.Minute),
		fmt.Sprintf("come every %d s", keepaliveMinTime/time.Second),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("missing: %s", want)
		}
	}
}
