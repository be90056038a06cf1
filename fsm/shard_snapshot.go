package fsm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tidwall/btree"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
)

// recordRun is how many transitions, steps or window entries share one record.
const recordRun = 128

// Snapshot pins the state at the applied index, in time that depends on the
// number of specifications and not on the number of instances.
func (s *Shard) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	header := &statev1.ShardHeader{AppliedIndex: s.applied, TimeUnixNano: s.now, LedTerm: s.ledTerm, NextOutbox: s.nextOutbox}
	s.reports.header(header)
	header.RequestWindowNanos, header.Tombstones, header.ForgottenThrough = int64(s.retention.window), s.retention.tombstones, s.retention.forgotten
	stage := s.stage.clone()
	specs := s.sortedSpecs()
	for i, p := range specs {
		specs[i] = p.clone()
	}
	records, awaiting, outbox, reports := s.records.Copy(), s.awaiting.Copy(), s.outbox.Copy(), s.reports.clone()
	return &view{index: s.applied, records: func(emit func(*statev1.Record) error) error {
		if err := emit(&statev1.Record{Kind: &statev1.Record_ShardHeader{ShardHeader: header}}); err != nil {
			return err
		}
		if err := stage.records(emit); err != nil {
			return err
		}
		for _, p := range specs {
			if err := p.records(emit); err != nil {
				return err
			}
		}
		if err := each(records, func(r *record) error { return r.records(emit) }); err != nil {
			return err
		}
		if err := each(awaiting, func(w *awaitingStep) error { return emit(w.record()) }); err != nil {
			return err
		}
		if err := each(outbox, func(o *statev1.OutboxItem) error {
			return emit(&statev1.Record{Kind: &statev1.Record_Outbox{Outbox: o}})
		}); err != nil {
			return err
		}
		return reports.each(func(r *statev1.ReportRecord) error {
			return emit(&statev1.Record{Kind: &statev1.Record_Report{Report: r}})
		})
	}}
}

// StateHash returns the SHA-256 of the state and the index that it belongs to.
// It walks over the whole state without holding up Apply.
func (s *Shard) StateHash() (index uint64, sum [sha256.Size]byte, err error) {
	snap := s.Snapshot()
	defer snap.Release()
	return hashOf(snap)
}

func each[T any](tree *btree.BTreeG[T], f func(T) error) error {
	var err error
	tree.Scan(func(item T) bool {
		err = f(item)
		return err == nil
	})
	return err
}

func (p *specState) records(emit func(*statev1.Record) error) error {
	rec := &statev1.SpecRecord{Spec: p.key.Proto(), Specification: p.definition, Mode: p.mode, ModeRevision: p.modeRevision, ModelVersion: p.modelVersion, PendingVersion: p.pendingVersion, FrontierTable: p.frontierTable, DroppedAt: p.droppedAt}
	if err := emit(&statev1.Record{Kind: &statev1.Record_Spec{Spec: rec}}); err != nil {
		return err
	}
	for _, set := range []struct {
		id  statev1.ModelRecord_Set
		set transitionSet
	}{{statev1.ModelRecord_SET_MODEL, p.model}, {statev1.ModelRecord_SET_LEARNED, p.learned}, {statev1.ModelRecord_SET_PENDING, p.pending}} {
		if err := set.set.records(set.id, emit); err != nil {
			return err
		}
	}
	return each(p.deviations, func(d *deviation) error { return emit(d.record()) })
}

func (s transitionSet) records(id statev1.ModelRecord_Set, emit func(*statev1.Record) error) error {
	run := &statev1.ModelRecord{Set: id}
	flush := func() error {
		if len(run.Transitions) == 0 {
			return nil
		}
		err := emit(&statev1.Record{Kind: &statev1.Record_Model{Model: run}})
		run = &statev1.ModelRecord{Set: id}
		return err
	}
	add := func(v *versioned) error {
		run.Transitions = append(run.Transitions, &statev1.VersionedTransition{Transition: transitionProto(v.Transition), Version: v.version, RemovedVersion: v.removed})
		if len(run.Transitions) == recordRun {
			return flush()
		}
		return nil
	}
	if err := each(s.tree, add); err != nil {
		return err
	}
	if err := each(s.gone, add); err != nil {
		return err
	}
	return flush()
}

func (d *deviation) record() *statev1.Record {
	return &statev1.Record{Kind: &statev1.Record_Deviation{Deviation: &statev1.DeviationRecord{
		Transition: transitionProto(d.t), Verdict: d.verdict, Reason: d.reason, Explanation: d.explanation, Grade: d.grade, Count: d.count,
		First: d.first.Proto(), FirstTime: d.firstAt, Last: d.last.Proto(), LastTime: d.lastAt, Order: d.order, Joint: d.joint,
	}}}
}

func (r *record) records(emit func(*statev1.Record) error) error {
	rec := &statev1.InstanceRecord{Key: r.key.Proto(), Incarnation: r.incarnation, Spec: r.spec.Proto(), DeletedAt: r.deletedAt, EvictedThrough: r.window.evictedThrough}
	if in := r.live; in != nil {
		rec.Live, rec.Meta, rec.Seq, rec.State = true, in.meta, in.seq, in.state
		rec.CreatedAt, rec.OffModel, rec.Awaiting = in.createdAt, in.offModel, in.awaiting
		rec.InitRequestId, rec.InitHash, rec.FirstKept = in.initRequest, in.initHash, in.history.first
		rec.TimedOutSeq = in.timedOut
		in.trail.write(rec)
	}
	if err := emit(&statev1.Record{Kind: &statev1.Record_Instance{Instance: rec}}); err != nil {
		return err
	}
	if r.live != nil {
		if err := r.live.history.records(emit); err != nil {
			return err
		}
	}
	for start := 0; start < len(r.window.entries); start += recordRun {
		run := &statev1.WindowRecord{}
		for _, e := range r.window.entries[start:min(start+recordRun, len(r.window.entries))] {
			run.Entries = append(run.Entries, &statev1.SeenRecord{
				RequestId: e.id, Hash: e.hash, At: e.at, Kind: uint32(e.kind), Incarnation: e.ref, Seq: e.seq, FromState: e.from, Verdict: e.verdict, Index: e.index,
			})
		}
		if err := emit(&statev1.Record{Kind: &statev1.Record_Window{Window: run}}); err != nil {
			return err
		}
	}
	return nil
}

func (h history) records(emit func(*statev1.Record) error) error {
	end := h.first + uint64(h.len())
	for seq := h.first; seq < end; {
		run := &statev1.HistoryRecord{}
		for ; seq < end && len(run.Steps) < recordRun; seq++ {
			st := h.at(seq)
			run.Steps = append(run.Steps, &statev1.StepRecord{Transition: transitionProto(*st.t), Time: st.time, EventTime: st.eventTime, Verdict: st.verdict, Judgement: st.judgement})
		}
		if err := emit(&statev1.Record{Kind: &statev1.Record_History{History: run}}); err != nil {
			return err
		}
	}
	return nil
}

func (w *awaitingStep) record() *statev1.Record {
	return &statev1.Record{Kind: &statev1.Record_Awaiting{Awaiting: &statev1.AwaitingRecord{
		Step: w.ref.Proto(), Spec: w.spec.Proto(), Transition: transitionProto(*w.transition),
		Settled: w.settled, ModelVersion: w.modelVersion, PendingVersion: w.pendingVersion,
	}}}
}

// Restore replaces the state by a snapshot's. On an error the state is as it was.
func (s *Shard) Restore(r io.Reader) error {
	next := &shardRestore{Shard: NewShard(), strings: map[string]string{}}
	if err := readSnapshot(r, next.decode); err != nil {
		return fmt.Errorf("restore shard: %w", err)
	}
	if err := next.finish(); err != nil {
		return fmt.Errorf("restore shard: %w: %w", ErrSnapshot, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied, s.now, s.ledTerm, s.stage = next.applied, next.now, next.ledTerm, next.stage
	s.records, s.expiring, s.specs, s.awaiting = next.records, next.expiring, next.specs, next.awaiting
	s.outbox, s.nextOutbox, s.reports, s.live = next.outbox, next.nextOutbox, next.reports, next.live
	s.deadlines, s.soonest, s.retention = next.deadlines, next.soonest, next.retention
	return nil
}

// shardRestore builds a shard from records; history, window, model and deviation
// records belong to the instance or specification record before them.
type shardRestore struct {
	*Shard
	header bool
	spec   *specState
	rec    *record
	// strings holds what instances share; steps and seen are used again and again.
	strings map[string]string
	steps   []step
	seen    []seen
}

// decode restores an encoded record.
func (b *shardRestore) decode(raw []byte) error {
	if done, err := b.quick(raw); done {
		return err
	}
	return decodeRecord(raw, b.apply)
}

// flush puts the record that is complete now into the tree. What Apply takes for
// granted is checked here: a replica must not begin with a state that it would
// stop at later.
func (b *shardRestore) flush() error {
	r := b.rec
	if r == nil {
		return nil
	}
	b.rec = nil
	old, replaced := b.records.Load(r) // they come in order
	b.count(r, old, replaced)
	if r.live == nil {
		b.expiring.Set(r.expiry())
		return nil
	}
	b.live++
	switch in := r.live; {
	case b.undefined(in.spec):
		return fmt.Errorf("the instance %q is of a specification that is not there", r.key.ID)
	case in.history.first == 0 || in.history.len() == 0 && in.seq != 1 || in.history.first+uint64(in.history.len())-1 != in.seq:
		return fmt.Errorf("the history of the instance %q does not lead to seq %d", r.key.ID, in.seq)
	}
	b.schedule(r.key, r.live)
	return nil
}

func (b *shardRestore) undefined(key SpecKey) bool {
	p := b.Shard.spec(key)
	return p == nil || p.definition == nil
}

// finish completes the shard after the last record.
func (b *shardRestore) finish() error {
	if err := b.flush(); err != nil {
		return err
	}
	if !b.header {
		return errors.New("no header")
	}
	err := each(b.awaiting, func(w *awaitingStep) error {
		if b.undefined(w.spec) {
			return fmt.Errorf("a step of %q awaits a verdict by a specification that is not there", w.ref.ID)
		}
		return nil
	})
	if item, ok := b.outbox.Max(); ok && item.GetId() >= b.nextOutbox {
		err = errors.New("the outbox is ahead of its count")
	}
	if b.reports.ahead() {
		err = errors.New("the reports are ahead of their count")
	}
	return err
}

func (b *shardRestore) apply(r *statev1.Record) error {
	head, ok := r.GetKind().(*statev1.Record_ShardHeader)
	if ok == b.header {
		return errHeader
	}
	if ok {
		h := head.ShardHeader
		b.header = true
		b.applied, b.now, b.ledTerm, b.nextOutbox = h.GetAppliedIndex(), h.GetTimeUnixNano(), h.GetLedTerm(), h.GetNextOutbox()
		b.reports.restoreHeader(h)
		b.retention = retention{window: time.Duration(h.GetRequestWindowNanos()), tombstones: h.GetTombstones(), forgotten: h.GetForgottenThrough()}
		return nil
	}
	switch kind := r.GetKind().(type) {
	case *statev1.Record_Stage:
		return b.stage.restore(kind.Stage)
	case *statev1.Record_Spec:
		c := kind.Spec
		b.spec = newSpecState(SpecKeyOf(c.GetSpec()))
		b.spec.define(c.GetSpecification())
		if err := b.spec.track(c.GetFrontierTable()); err != nil {
			return err
		}
		b.spec.mode, b.spec.modeRevision = c.GetMode(), c.GetModeRevision()
		b.spec.modelVersion, b.spec.pendingVersion = c.GetModelVersion(), c.GetPendingVersion()
		b.spec.droppedAt = c.GetDroppedAt()
		b.specs[b.spec.key] = b.spec
	case *statev1.Record_Model:
		return b.restoreModel(kind.Model)
	case *statev1.Record_Deviation:
		if b.spec == nil {
			return fmt.Errorf("a deviation without its specification")
		}
		b.spec.deviations.Set(restoreDeviation(kind.Deviation))
	case *statev1.Record_Instance:
		if err := b.flush(); err != nil {
			return err
		}
		b.rec = restoreInstance(kind.Instance)
		if b.rec.live != nil {
			var err error
			b.rec.live.trail, err = b.Shard.spec(b.rec.spec).restoreTrail(kind.Instance)
			return err
		}
	case *statev1.Record_History:
		return b.restoreHistory(kind.History)
	case *statev1.Record_Window:
		return b.restoreWindow(kind.Window)
	case *statev1.Record_Awaiting:
		w := kind.Awaiting
		t := transitionOf(w.GetTransition())
		b.awaiting.Set(&awaitingStep{ref: StepRefOf(w.GetStep()), spec: SpecKeyOf(w.GetSpec()), transition: &t, settled: w.GetSettled(), modelVersion: w.GetModelVersion(), pendingVersion: w.GetPendingVersion()})
	case *statev1.Record_Outbox:
		b.outbox.Set(kind.Outbox)
	case *statev1.Record_Report:
		b.reports.restore(kind.Report)
	default:
		return fmt.Errorf("%T does not belong into the snapshot of a shard", kind)
	}
	return nil
}

func (b *shardRestore) restoreModel(m *statev1.ModelRecord) error {
	if b.spec == nil {
		return fmt.Errorf("a model without its specification")
	}
	sets := map[statev1.ModelRecord_Set]transitionSet{
		statev1.ModelRecord_SET_MODEL: b.spec.model, statev1.ModelRecord_SET_LEARNED: b.spec.learned, statev1.ModelRecord_SET_PENDING: b.spec.pending,
	}
	set, ok := sets[m.GetSet()]
	if !ok {
		return fmt.Errorf("unknown set %d", m.GetSet())
	}
	for _, v := range m.GetTransitions() {
		if v.GetRemovedVersion() != 0 {
			set.gone.Set(&versioned{Transition: transitionOf(v.GetTransition()), version: v.GetVersion(), removed: v.GetRemovedVersion()})
			continue
		}
		set.add(transitionOf(v.GetTransition()), v.GetVersion())
	}
	return nil
}

func restoreDeviation(d *statev1.DeviationRecord) *deviation {
	return &deviation{
		t: transitionOf(d.GetTransition()), verdict: d.GetVerdict(), reason: d.GetReason(), explanation: d.GetExplanation(), grade: d.GetGrade(), count: d.GetCount(),
		first: StepRefOf(d.GetFirst()), firstAt: d.GetFirstTime(), last: StepRefOf(d.GetLast()), lastAt: d.GetLastTime(),
		order: d.GetOrder(), joint: d.GetJoint(),
	}
}

func restoreInstance(r *statev1.InstanceRecord) *record {
	rec := &record{key: KeyOf(r.GetKey()), incarnation: r.GetIncarnation(), spec: SpecKeyOf(r.GetSpec()), deletedAt: r.GetDeletedAt(), window: window{evictedThrough: r.GetEvictedThrough()}}
	if r.GetLive() {
		rec.live = &instance{
			incarnation: r.GetIncarnation(), spec: rec.spec, meta: r.GetMeta(), createdAt: r.GetCreatedAt(),
			seq: r.GetSeq(), state: r.GetState(), history: history{first: r.GetFirstKept()}, offModel: r.GetOffModel(), awaiting: r.GetAwaiting(),
			initRequest: r.GetInitRequestId(), initHash: r.GetInitHash(), timedOut: r.GetTimedOutSeq(),
		}
	}
	return rec
}

func (b *shardRestore) restoreHistory(h *statev1.HistoryRecord) error {
	if b.rec == nil || b.rec.live == nil {
		return fmt.Errorf("a history without its instance")
	}
	in := b.rec.live
	spec := b.Shard.spec(in.spec)
	for _, st := range h.GetSteps() {
		t := transitionOf(st.GetTransition())
		next := step{t: &t, time: st.GetTime(), eventTime: st.GetEventTime(), verdict: st.GetVerdict(), judgement: st.GetJudgement()}
		// Share the strings with the model again, as Apply did.
		if spec != nil {
			if v, ok := spec.model.get(t); ok {
				next.t = &v.Transition
			} else if v, ok := spec.learned.get(t); ok {
				next.t = &v.Transition
			}
		}
		in.history = in.history.append(next, in.history.len()+1)
	}
	return nil
}

func (b *shardRestore) restoreWindow(w *statev1.WindowRecord) error {
	if b.rec == nil {
		return fmt.Errorf("a request window without its identifier")
	}
	for _, e := range w.GetEntries() {
		b.rec.window.entries = append(b.rec.window.entries, seen{
			id: e.GetRequestId(), hash: e.GetHash(), at: e.GetAt(), kind: requestKind(e.GetKind()), ref: e.GetIncarnation(), seq: e.GetSeq(),
			from: e.GetFromState(), verdict: e.GetVerdict(), index: e.GetIndex(),
		})
	}
	return nil
}
