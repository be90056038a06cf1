package fsm

import (
	"github.com/spexio/spex/model"
	"github.com/tidwall/btree"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// Shard is the state machine of one shard: its instances with their histories,
// the specifications and models that it works with, what it has learned and not
// yet handed to the catalog, the steps that await a verdict, and its reports.
type Shard struct {
	machine

	// records holds every identifier that is in use, or was within the dedupe window.
	records *btree.BTreeG[*record]
	// expiring holds the tombstones in the order of their end.
	expiring *btree.BTreeG[expiry]
	// specs is keyed by version; a key stays once it is known, so that
	// instances that are pinned to an old version go on.
	specs map[SpecKey]*specState
	// awaiting holds the steps without a verdict, by their reference.
	awaiting *btree.BTreeG[*awaitingStep]
	// outbox holds what the catalog has not acknowledged, by id.
	outbox     *btree.BTreeG[*statev1.OutboxItem]
	nextOutbox uint64
	reports    reportLog
	retention  retention
	// deadlines holds the groups of those who have one. It follows from the
	// records, so that snapshots leave it out.
	deadlines *btree.BTreeG[*deadlineGroup]
	// soonest is the earliest deadline that the last entry may have brought.
	soonest int64
	// live counts the records that are in use.
	live int
}

// NewShard returns the machine of an empty shard.
func NewShard() *Shard {
	s := &Shard{}
	s.reset()
	return s
}

func (s *Shard) reset() {
	s.applied, s.now, s.ledTerm, s.stage = 0, 0, 0, stage{}
	s.records = newTree(func(a, b *record) bool { return a.key.Compare(b.key) < 0 })
	s.expiring = newTree(expiry.less)
	s.specs = map[SpecKey]*specState{}
	s.awaiting = newTree(func(a, b *awaitingStep) bool { return a.ref.Compare(b.ref) < 0 })
	s.outbox = newTree(func(a, b *statev1.OutboxItem) bool { return a.GetId() < b.GetId() })
	s.reports, s.retention = newReportLog(), retention{}
	s.nextOutbox, s.live = 1, 0
	s.deadlines, s.soonest = newTree((*deadlineGroup).less), noDeadline
}

// record is what is known of one identifier. Values in the tree are immutable.
type record struct {
	key Key
	// live is nil once the instance was deleted or pruned: the rest is a tombstone.
	live *instance
	// incarnation is the last one, and spec what it was an instance of; the next
	// incarnation is higher.
	incarnation uint64
	spec        SpecKey
	deletedAt   int64
	window      window
}

// instance is one incarnation of an identifier.
type instance struct {
	incarnation uint64
	spec        SpecKey
	meta        []*statev1.MetaEntry // sorted by key
	createdAt   int64
	// seq is the sequence number of the last step: history.first + history.len() - 1.
	seq     uint64
	state   string
	history history
	// offModel is set once a step was a deviation, for good.
	offModel bool
	// timedOut is the sequence number of the last step whose timeout was reported, 0 for none.
	timedOut uint64
	// trail is nil until the instance leaves the model.
	trail *trail
	// awaiting counts the steps of this incarnation that have no verdict.
	awaiting uint32
	// The request that began the incarnation is remembered for as long as it lives.
	initRequest string
	initHash    uint64
}

// expiry is the place of a tombstone in the order in which they are forgotten.
type expiry struct {
	// untimed is set when it remembers a request whose id does not tell its age.
	// Only the tombstone keeps such a request from being applied again, so that
	// it never goes early.
	untimed bool
	// at is its lastRequest, and does not depend on how long it is kept then.
	at  int64
	key Key
}

// less puts those that may go early first.
func (e expiry) less(o expiry) bool {
	if e.untimed != o.untimed {
		return o.untimed
	}
	if e.at != o.at {
		return e.at < o.at
	}
	return e.key.Compare(o.key) < 0
}

// awaitingStep is a step whose verdict is not recorded. It outlives the instance.
type awaitingStep struct {
	ref        StepRef
	spec       SpecKey
	transition *model.Transition
	// settled is false while the model is being sealed: then the versions that
	// the step will be judged by are not decided.
	settled                      bool
	modelVersion, pendingVersion uint64
}

// Apply applies the data of one log entry and returns a result for each of its
// commands. An error means that this build cannot apply the entry and that the
// replica must stop before it diverges.
//
// The values of the results are: *StepResult for InitInstance, Step and MockInstance,
// *VerdictResult for RecordVerdict, *DeleteResult for DeleteInstance,
// *ModeResult for SetModelMode, *TimeoutResult for FireTimeout, *PruneResult for
// PruneInstance, *DropResult for DropSpecification, and nil for the rest.
func (s *Shard) Apply(index uint64, data []byte) ([]Result, error) {
	return s.applyEntry(index, data, handlers{supports: shardSupports, begin: s.begin, apply: s.apply})
}

func (s *Shard) apply(cmd *statev1.Command) Result {
	switch kind := cmd.GetKind().(type) {
	case *statev1.Command_InitInstance:
		return s.applyInit(kind.InitInstance)
	case *statev1.Command_Step:
		return s.applyStep(kind.Step)
	case *statev1.Command_RecordVerdict:
		return s.applyVerdict(kind.RecordVerdict)
	case *statev1.Command_DeleteInstance:
		return s.applyDelete(kind.DeleteInstance)
	case *statev1.Command_MockInstance:
		return s.applyMock(kind.MockInstance)
	case *statev1.Command_InstallSpecification:
		return s.applyInstall(kind.InstallSpecification)
	case *statev1.Command_ExtendModel:
		return s.applyExtend(kind.ExtendModel)
	case *statev1.Command_SetModelMode:
		return s.applyMode(kind.SetModelMode)
	case *statev1.Command_AcknowledgeOutbox:
		return s.applyAcknowledge(kind.AcknowledgeOutbox)
	case *statev1.Command_FireTimeout:
		return s.applyFire(kind.FireTimeout)
	case *statev1.Command_PruneInstance:
		return s.applyPrune(kind.PruneInstance)
	case *statev1.Command_SetRetention:
		return s.applyRetention(kind.SetRetention)
	case *statev1.Command_DropSpecification:
		return s.applyDrop(kind.DropSpecification)
	}
	panic("a command passed shardSupports that Apply does not know")
}

func shardSupports(cmd *statev1.Command) bool {
	switch cmd.GetKind().(type) {
	case *statev1.Command_InitInstance, *statev1.Command_Step, *statev1.Command_RecordVerdict,
		*statev1.Command_DeleteInstance, *statev1.Command_MockInstance, *statev1.Command_InstallSpecification, *statev1.Command_ExtendModel,
		*statev1.Command_SetModelMode, *statev1.Command_AcknowledgeOutbox,
		*statev1.Command_FireTimeout, *statev1.Command_PruneInstance, *statev1.Command_SetRetention, *statev1.Command_DropSpecification:
		return true
	}
	return false
}

func (s *Shard) record(key Key) *record {
	r, ok := s.records.Get(&record{key: key})
	if !ok {
		return nil
	}
	return r
}

// begin starts an entry.
func (s *Shard) begin(commands int) {
	s.soonest = noDeadline
	s.expire(commands)
}

// expire forgets tombstones whose time is over. One entry forgets a bounded
// number, so that none takes long, but more than it can make, so that none are
// left behind. Entries of the queue that a later delete or initialisation has
// overtaken do not count: a restored replica does not have them.
func (s *Shard) expire(commands int) {
	for removed := 0; removed < 64+2*commands; {
		e, ok := s.overdue()
		if !ok {
			return
		}
		r := s.record(e.key)
		if r == nil || r.live != nil || r.expiry() != e {
			s.expiring.Delete(e)
			continue
		}
		if r.incarnation >= s.applied {
			// One entry has begun the identifier more than once. The tombstone
			// stays until the log is past its incarnation, or the next one
			// could be the same.
			return
		}
		if !s.tooOld(e) {
			s.retention.forgotten = max(s.retention.forgotten, e.at)
		}
		s.expiring.Delete(e)
		s.remove(r)
		removed++
	}
}

// overdue finds a tombstone whose time is over.
func (s *Shard) overdue() (e expiry, ok bool) {
	if e, ok = s.expiring.Min(); ok && !e.untimed && (s.tooOld(e) || s.tooMany(e)) {
		return e, true
	}
	ok = false
	s.expiring.Ascend(expiry{untimed: true}, func(first expiry) bool {
		e, ok = first, s.tooOld(first)
		return false
	})
	return e, ok
}

// tooOld reports whether a tombstone may be forgotten: every request that its
// window holds would be refused for its age alone, or does not tell its age and
// is as old as requests are remembered.
func (s *Shard) tooOld(e expiry) bool { return e.at+int64(s.retention.requestWindow()) <= s.now }

// tooMany reports whether a tombstone has to go before its time, and is not so
// young that requests which are under way could miss it.
func (s *Shard) tooMany(e expiry) bool {
	return s.records.Len()-s.live > s.retention.maxTombstones() && e.at+int64(MinRequestWindow) <= s.now
}

// expiry is the place of a tombstone in the queue.
func (r *record) expiry() expiry {
	return expiry{untimed: r.window.untimed(), at: r.lastRequest(), key: r.key}
}

// lastRequest is the time of the newest request that a tombstone remembers. A
// client whose clock is fast makes ids that grow old later, and is followed for
// up to a day.
func (r *record) lastRequest() int64 {
	return min(max(r.deletedAt, r.window.newestID()), r.deletedAt+int64(maxFastClock))
}

// worse orders verdicts by how much they accuse.
func worse(a, b typesv1.Verdict) typesv1.Verdict {
	if a == typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT || b == typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT {
		return typesv1.Verdict_VERDICT_DEVIATION_NOT_EQUIVALENT
	}
	return typesv1.Verdict_VERDICT_DEVIATION_STILL_EQUIVALENT
}
