package cluster

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	peerv1 "github.com/spexio/spex/proto/spex/peer/v1"
)

// Whatever is forwarded is a read by its name here or a write: the error of a write
// without an answer must not say that it was not applied.
func TestWhatIsARead(t *testing.T) {
	isRead := map[protoreflect.Name]bool{"get": true, "history": true, "list": true, "deviations": true, "reports": true}
	members := (&peerv1.ForwardRequest{}).ProtoReflect().Descriptor().Oneofs().ByName("request").Fields()
	for i := range members.Len() {
		field, req := members.Get(i), &peerv1.ForwardRequest{}
		m := req.ProtoReflect()
		m.Set(field, m.NewField(field))
		want := writes
		if isRead[field.Name()] {
			want = reads
		}
		if got := effectOf(req); got != want {
			t.Errorf("%s has effect %d, want %d", field.Name(), got, want)
		}
	}
}
