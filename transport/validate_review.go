package transport

import (
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// Limits of reviews.
const (
	// MaxReviewed bounds the transitions of one acceptance or rejection.
	MaxReviewed = fsm.MaxReviewed
	// MaxOwnerBytes and MaxReasonBytes bound who reviewed a deviation, and why.
	MaxOwnerBytes  = fsm.MaxOwnerBytes
	MaxReasonBytes = fsm.MaxReasonBytes
	// MaxModelEvents bounds the history of a model that is kept.
	MaxModelEvents = fsm.MaxModelEvents
)

// reviewRequest is what AcceptDeviationsRequest and RejectDeviationsRequest have
// in common.
type reviewRequest interface {
	proto.Message
	GetSpec() string
	GetTransitions() []*typesv1.Transition
	GetOwner() string
	GetReason() string
}

// review checks the parts that acceptances and rejections have in common.
func (c *checks) review(namespace *string, r reviewRequest) {
	c.namespace(namespace)
	c.add(spec.CheckSpecName("spec", r.GetSpec()))
	c.remark("owner", r.GetOwner(), MaxOwnerBytes, "name a person or a team that answers for it")
	c.remark("reason", r.GetReason(), MaxReasonBytes, "say why, for those who read the history of the model")
	switch n := len(r.GetTransitions()); {
	case n == 0:
		c.add(malformed("transitions", "is empty", "name one transition or more"))
	case n > MaxReviewed:
		c.add(overLimit("transitions", fmt.Sprintf("are %d, the limit is %d", n, MaxReviewed), "send several requests"))
		return
	}
	for i, t := range r.GetTransitions() {
		c.add(checkModelTransition(i, t))
	}
	c.commandSize(r)
}

// remark checks a text by people for people, which must not be empty.
func (c *checks) remark(field, v string, limit int, hint string) {
	switch {
	case v == "":
		c.add(malformed(field, "is empty", hint))
	case len(v) > limit:
		c.add(overLimit(field, fmt.Sprintf("is %d bytes long, the limit is %d", len(v), limit), "make it shorter"))
	case !utf8.ValidString(v):
		c.add(malformed(field, "is not UTF-8", "encode it as UTF-8"))
	}
}

// until checks the end of an acceptance. Whether it is over is for the log's
// clock to say.
func (c *checks) until(v *timestamppb.Timestamp) {
	if v == nil {
		return
	}
	if err := v.CheckValid(); err != nil {
		c.add(malformed("expires_at", "is not a time: "+err.Error(), "give seconds since 1970 and 0 to 999,999,999 nanoseconds"))
		return
	}
	// An end of 0 would be kept as none.
	if t := v.AsTime(); !t.After(time.Unix(0, 0)) || t.After(maxEventTime) {
		c.add(malformed("expires_at", fmt.Sprintf("%s is out of range", t.Format(time.RFC3339)), "give a time to come, up to 2261"))
	}
}

func normalizeAccept(r *spexv1.AcceptDeviationsRequest) error {
	var c checks
	c.review(&r.Namespace, r)
	c.until(r.ExpiresAt)
	return c.err
}

func normalizeReject(r *spexv1.RejectDeviationsRequest) error {
	var c checks
	c.review(&r.Namespace, r)
	return c.err
}

func normalizeModelHistory(r *spexv1.ListModelHistoryRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckSpecName("spec", r.Spec))
	c.count("limit", &r.Limit, MaxModelEvents, MaxModelEvents)
	return c.err
}
