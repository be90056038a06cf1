package api

import (
	"testing"

	"google.golang.org/grpc/codes"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

func TestEveryReasonHasACode(t *testing.T) {
	for n, name := range typesv1.Reason_name {
		r := typesv1.Reason(n)
		if r == typesv1.Reason_REASON_UNSPECIFIED {
			continue
		}
		if _, ok := codeOf[r]; !ok {
			t.Errorf("%s has no gRPC code: add it to codeOf", name)
		}
		if c := CodeOf(r); c == codes.OK || c == codes.Unknown {
			t.Errorf("%s travels as %s", name, c)
		}
	}
	if got := CodeOf(typesv1.Reason(9999)); got != codes.Internal {
		t.Errorf("unknown reason: got %s, want Internal", got)
	}
}
