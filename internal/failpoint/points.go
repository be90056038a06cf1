package failpoint

import "slices"

// Point is a place in the code that a test can act on.
type Point struct {
	// Name is the package of the place, a slash, and the place.
	Name string
	// Window says between which two steps it is.
	Window string
	// Fallible is set when the place is hit with Error and can take one.
	Fallible bool
}

// points is the one list of all places, in the order in which a cluster comes
// to them. A test holds it against the calls in the code and against
// docs/testing.md.
var points = []Point{
	{Name: "cluster/pledge-written", Window: "A member has its pledge on disk; the proposer has no answer yet."},
	{Name: "cluster/pledges-before-bootstrap", Window: "The proposer has all pledges; the catalog has no configuration yet."},
	{Name: "cluster/catalog-bootstrapped", Window: "The catalog's first configuration is on the proposer's disk; gossip does not tell of the cluster yet."},
	{Name: "cluster/before-cluster-id", Window: "The node has the catalog of the formed cluster, or was taken into one that it joins; its data directory is not bound to the cluster yet."},
	{Name: "cluster/shard-led-before-marked", Window: "A new shard has its first leader; the catalog does not say that it is formed yet."},
	{Name: "cluster/shard-marked-formed", Window: "The catalog says that a shard is formed; its leader has only just heard."},
	{Name: "cluster/join-before-asked", Window: "A node has found its cluster by gossip; it has asked no member to take it in."},
	{Name: "cluster/join-listed", Window: "The catalog lists a joining node, which is no member of its group yet."},
	{Name: "cluster/join-admitted", Window: "A joining node is listed and a member of the catalog's group without a vote; it has no answer."},
	{Name: "cluster/join-bound", Window: "A joining node's data directory is bound to the cluster; it has nothing of the catalog."},
	{Name: "cluster/before-registered", Window: "A node has the catalog; it has not told where it is reached now, and does not serve."},
	{Name: "cluster/replica-placed", Window: "The catalog places a replica on a node; the group's leader has not added it."},
	{Name: "cluster/replica-added", Window: "The leader of a group has added a replica without a vote; who asked for it has no answer."},
	{Name: "cluster/replica-promoted", Window: "A replica has its vote; who asked for it has no answer."},
	{Name: "cluster/replica-removed", Window: "A replica has left its group; who asked for it has no answer, and the catalog still places it."},
	{Name: "cluster/replica-before-unplace", Window: "A replica has left its group; the catalog still places it."},
	{Name: "cluster/replica-before-delete", Window: "The catalog places a replica elsewhere, and the node that had it knows; its state is there, and open."},
	{Name: "cluster/replica-closed", Window: "A replica that is placed elsewhere is closed; its state is there."},
	{Name: "store/group-removing", Window: "The manifest of a group says that it is on its way out; its files are there."},
	{Name: "cluster/leadership-before-move", Window: "The catalog's leader has decided that a leadership moves, because a node drains for instance; who leads the group was not asked."},
	{Name: "cluster/transfer-received", Window: "The leader of a group is asked to hand its leadership over; its Raft does not know."},
	{Name: "shard/transfer-asked", Window: "A leader has asked Raft to hand its leadership over; whether it does is open."},
	{Name: "transport/timeout-now-arriving", Window: "A leader has told its heir to take over, and takes no entries meanwhile; the heir's Raft does not know."},
	{Name: "cluster/transfer-done", Window: "A leader has handed its leadership over; who asked for it has no answer."},
	{Name: "cluster/leadership-moved", Window: "A leadership has moved; the catalog's leader, who had it moved, has more to move."},
	{Name: "cluster/payload-staged", Window: "The chunks of a large payload are in a shard's log; the command that uses them is not."},
	{Name: "cluster/before-forward", Window: "A node is about to pass a request on to the leader of its shard; the leader has not heard of it."},
	{Name: "cluster/forwarded-before-reply", Window: "The leader of a shard has answered a request that a node passed on; the node's client has no answer."},
	{Name: "shard/proposed", Window: "The leader has handed a batch to Raft and has no answer: the entry may be on no disk, on some, or committed."},
	{Name: "store/logs-write", Window: "Entries are about to be written to a log; none is. An error here is a failed disk.", Fallible: true},
	{Name: "store/logs-durable", Window: "Entries are on this node's disk; its Raft does not know. On a leader no follower has them, on a follower the leader does not count them."},
	{Name: "shard/applied-before-reply", Window: "A batch is committed and applied on the leader; nobody who waits for it has an answer."},
	{Name: "cluster/verdict-before-propose", Window: "Verdicts are computed; they are not proposed."},
	{Name: "cluster/deadline-before-propose", Window: "Deadlines of instances have passed and the leader has seen it; the timeouts and prunes are not proposed."},
	{Name: "cluster/joint-before-propose", Window: "The catalog's leader has judged deviations together with those of other shards; the findings are not proposed."},
	{Name: "cluster/outbox-before-acknowledge", Window: "The catalog has what a shard learned or reported; the shard's outbox still holds it."},
	{Name: "cluster/mode-before-acknowledge", Window: "A shard has logged that its model is being sealed, or is sealed; the catalog has no acknowledgement."},
	{Name: "store/snapshot-written", Window: "A snapshot is whole on disk; it is not recorded, so the replica does not stand on it."},
	{Name: "store/snapshot-recorded", Window: "A snapshot is recorded; the log behind it is not compacted."},
	{Name: "transport/snapshot-arriving", Window: "A piece of a leader's snapshot has arrived; the snapshot is not whole."},
	{Name: "store/install-written", Window: "A leader's snapshot, which reaches beyond the log here, is whole on disk; it is not recorded, so the replica does not stand on it."},
	{Name: "store/install-recorded", Window: "A leader's snapshot is recorded; the replica has not taken its state over, and its log ends before it."},
}

// Points returns all places, in the order in which a cluster comes to them.
func Points() []Point { return slices.Clone(points) }

func find(name string) (Point, bool) {
	for _, p := range points {
		if p.Name == name {
			return p, true
		}
	}
	return Point{}, false
}

func names() []string {
	list := make([]string, len(points))
	for i, p := range points {
		list[i] = p.Name
	}
	return list
}
