package api

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// CheckInit completes and checks a request: it sets what an empty field stands
// for, and returns an *fsm.Error about the first field that is wrong. So do the
// other functions named Check. Without ids a request must have its id.
func CheckInit(r *spexv1.InitInstanceRequest, ids RequestIDs) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckSpecName("spec", r.Spec))
	c.add(spec.CheckIdentifier("id", r.Id))
	if r.InitialState != "" {
		c.add(spec.CheckState("initial_state", r.InitialState))
	}
	c.add(spec.CheckMeta(r.Meta))
	c.eventTime(&r.EventTime)
	c.commandSize(r)
	c.requestID(ids, &r.RequestId, false, "")
	return c.err
}

// CheckMock is CheckInit for a mock.
func CheckMock(r *spexv1.MockInstanceRequest, ids RequestIDs) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckSpecName("spec", r.Spec))
	c.add(spec.CheckIdentifier("id", r.Id))
	c.add(spec.CheckState("state", r.State))
	c.add(spec.CheckMeta(r.Meta))
	c.commandSize(r)
	c.requestID(ids, &r.RequestId, false, "")
	return c.err
}

// CheckTransition is CheckInit for a step. Its id must be a UUIDv7 unless the
// request says which seq it expects.
func CheckTransition(r *spexv1.TransitionRequest, ids RequestIDs) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckIdentifier("id", r.Id))
	c.add(spec.CheckAction("action", r.Action))
	c.add(spec.CheckState("to_state", r.ToState))
	c.eventTime(&r.EventTime)
	c.commandSize(r)
	c.requestID(ids, &r.RequestId, r.ExpectedSeq == 0, "expected_seq")
	return c.err
}

// CheckDelete is CheckInit for a deletion. Its id must be a UUIDv7 unless the
// request names the incarnation.
func CheckDelete(r *spexv1.DeleteInstanceRequest, ids RequestIDs) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckIdentifier("id", r.Id))
	c.commandSize(r)
	c.requestID(ids, &r.RequestId, r.Incarnation == 0, "incarnation")
	return c.err
}

// CheckGet is CheckInit for the read of an instance.
func CheckGet(r *spexv1.GetInstanceRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckIdentifier("id", r.Id))
	c.consistency(&r.Consistency)
	return c.err
}

// CheckHistory is CheckInit for the read of a history.
func CheckHistory(r *spexv1.GetHistoryRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckIdentifier("id", r.Id))
	c.consistency(&r.Consistency)
	c.count("page_size", &r.PageSize, spec.MaxPage, spec.MaxPage)
	c.pageToken(r.PageToken)
	return c.err
}

// CheckList is CheckInit for a list of instances.
func CheckList(r *spexv1.ListInstancesRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.selection(r)
	c.consistency(&r.Consistency)
	c.count("page_size", &r.PageSize, DefaultListPage, spec.MaxPage)
	return c.err
}

// CheckDeleteMatching is CheckInit for a deletion by expression.
func CheckDeleteMatching(r *spexv1.DeleteMatchingRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.selection(r)
	if r.Where == "" {
		c.add(Malformed("where", "is empty", `write "true" to delete every instance of the namespace`))
	}
	return c.err
}

// CheckDeviations is CheckInit for a list of deviations.
func CheckDeviations(r *spexv1.ListDeviationsRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	if r.Spec != "" {
		c.add(spec.CheckSpecName("spec", r.Spec))
	}
	c.consistency(&r.Consistency)
	c.count("limit", &r.Limit, DefaultDeviations, MaxDeviations)
	return c.err
}

// CheckNamed completes and checks the two fields that name a specification;
// field is what the request calls the second.
func CheckNamed(namespace *string, field, name string) error {
	var c checks
	c.namespace(namespace)
	c.add(spec.CheckSpecName(field, name))
	return c.err
}

// CheckNamespace completes and checks a request that has nothing else.
func CheckNamespace(namespace *string) error {
	var c checks
	c.namespace(namespace)
	return c.err
}

// CheckModelTransition checks the names of a transition of a model. at is its
// place in the upload, from 0.
func CheckModelTransition(at int, t *typesv1.Transition) error {
	var c checks
	field := func(name string) string { return fmt.Sprintf("transitions[%d].%s", at, name) }
	if t.GetAction() == spec.Initialisation {
		if t.GetFrom() != "" {
			c.add(Malformed(field("from"), "is not empty although the action is __initialisation__", "leave it empty; the state that instances begin in goes into to"))
		}
	} else {
		c.add(spec.CheckAction(field("action"), t.GetAction()))
		c.add(spec.CheckState(field("from"), t.GetFrom()))
	}
	c.add(spec.CheckState(field("to"), t.GetTo()))
	return c.err
}

// CheckImportSize checks how many transitions an import has.
func CheckImportSize(transitions int) error {
	if transitions <= spec.MaxModelTransitions {
		return nil
	}
	return OverLimit("transitions", fmt.Sprintf("are more than %d in all, which is the limit", spec.MaxModelTransitions), "import a smaller model")
}

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
		c.add(Malformed("transitions", "is empty", "name one transition or more"))
	case n > MaxReviewed:
		c.add(OverLimit("transitions", fmt.Sprintf("are %d, the limit is %d", n, MaxReviewed), "send several requests"))
		return
	}
	for i, t := range r.GetTransitions() {
		c.add(CheckModelTransition(i, t))
	}
	c.commandSize(r)
}

// CheckAccept is CheckInit for an acceptance.
func CheckAccept(r *spexv1.AcceptDeviationsRequest) error {
	var c checks
	c.review(&r.Namespace, r)
	c.until(r.ExpiresAt)
	return c.err
}

// CheckReject is CheckInit for a rejection.
func CheckReject(r *spexv1.RejectDeviationsRequest) error {
	var c checks
	c.review(&r.Namespace, r)
	return c.err
}

// CheckModelHistory is CheckInit for the read of a model's history.
func CheckModelHistory(r *spexv1.ListModelHistoryRequest) error {
	var c checks
	c.namespace(&r.Namespace)
	c.add(spec.CheckSpecName("spec", r.Spec))
	c.count("limit", &r.Limit, MaxModelEvents, MaxModelEvents)
	return c.err
}

// CheckWatch is CheckInit for a watch.
func CheckWatch(r *spexv1.WatchRequest) error {
	var c checks
	if !r.AllNamespaces {
		c.namespace(&r.Namespace)
	} else if r.Namespace != "" {
		c.add(Malformed("namespace", "is set although all_namespaces is", "set one of them"))
	}
	if len(r.Specs) > MaxWatchSpecs {
		c.add(OverLimit("specs", fmt.Sprintf("has %d names, the limit is %d", len(r.Specs), MaxWatchSpecs), "leave it empty for all, and pick on your side"))
	} else {
		for i, name := range r.Specs {
			c.add(spec.CheckSpecName(fmt.Sprintf("specs[%d]", i), name))
		}
	}
	if len(r.Kinds) > len(typesv1.ReportKind_name) {
		c.add(OverLimit("kinds", fmt.Sprintf("has %d entries, more than there are kinds", len(r.Kinds)), "name each kind once"))
	} else {
		for i, k := range r.Kinds {
			if _, known := typesv1.ReportKind_name[int32(k)]; !known || k == typesv1.ReportKind_REPORT_KIND_UNSPECIFIED {
				c.add(Malformed(fmt.Sprintf("kinds[%d]", i), fmt.Sprintf("has the unknown value %d", int32(k)), "see ReportKind for those that there are"))
			}
		}
	}
	c.watchStart(r)
	c.heartbeat(&r.Heartbeat)
	return c.err
}

func (c *checks) watchStart(r *spexv1.WatchRequest) {
	switch r.From {
	case spexv1.WatchRequest_FROM_UNSPECIFIED, spexv1.WatchRequest_FROM_NOW, spexv1.WatchRequest_FROM_OLDEST:
	default:
		c.add(Malformed("from", fmt.Sprintf("has the unknown value %d", int32(r.From)), "use NOW (1) or OLDEST (2)"))
	}
	switch {
	case r.Cursor != "" && r.From != spexv1.WatchRequest_FROM_UNSPECIFIED:
		c.add(Malformed("from", "is set although there is a cursor", "set one of them"))
	case len(r.Cursor) > MaxCursorBytes:
		c.add(OverLimit("cursor", fmt.Sprintf("is %d bytes long, the limit is %d", len(r.Cursor), MaxCursorBytes), "pass the cursor of an earlier response"))
	}
}
