package fsm

import (
	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// The catalog has a report log of its own, for what no shard can know: that
// deviations of different shards violate a specification together.

// reportJoint reports a deviation that was found to violate its specification
// together with others, once: another version of the model has all deviations
// judged anew, and what was harmful before is no news.
func (c *Catalog) reportJoint(m *catalogModel, old, now *deviation) {
	if !now.joint.GetJoint() || old.joint.GetJoint() {
		return
	}
	c.reports.add(&statev1.ReportRecord{
		Kind: typesv1.ReportKind_REPORT_KIND_JOINT_DEVIATION, Spec: m.key.Proto(), Step: now.first.Proto(), State: now.t.To,
		Transition: transitionProto(now.t), Joint: now.joint,
	}, c.now)
}

// Reports is Shard.Reports for those of the catalog.
func (c *Catalog) Reports(after uint64, filter ReportFilter, limit int) ReportPage {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.reports.page(after, filter, limit)
}

// LastReport returns the id of the newest report, 0 if there was none yet.
func (c *Catalog) LastReport() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.reports.next - 1
}
