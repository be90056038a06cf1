package main

import "time"

// This file fixes the JSON of the command line; docs/json.md describes it for
// users, and a test holds the two together. Every field is always present:
// what is not known is null, lists are never null, times are RFC 3339 in UTC.

// jsonTime is a point in time: RFC 3339 with up to nine decimals, in UTC; null when there is none.
type jsonTime time.Time

// MarshalJSON implements json.Marshaler.
func (t jsonTime) MarshalJSON() ([]byte, error) {
	tm := time.Time(t)
	if tm.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + tm.UTC().Format(time.RFC3339Nano) + `"`), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *jsonTime) UnmarshalJSON(data []byte) error {
	var tm time.Time
	if err := tm.UnmarshalJSON(data); err != nil {
		return err
	}
	*t = jsonTime(tm)
	return nil
}

// transitionJSON is one element of a transition relation.
type transitionJSON struct {
	From   string `json:"from"`
	Action string `json:"action"`
	To     string `json:"to"`
}

// judgementJSON is what is known about a step beyond its verdict.
type judgementJSON struct {
	Verdict            string  `json:"verdict"`
	Reason             string  `json:"reason"`
	Explanation        string  `json:"explanation"`
	WithPending        *string `json:"with_pending"`
	BaselineEquivalent bool    `json:"baseline_equivalent"`
	SpecVersion        uint64  `json:"spec_version"`
	ModelVersion       uint64  `json:"model_version"`
	PendingVersion     uint64  `json:"pending_version"`
	Rule               string  `json:"rule"`
	Grade              *string `json:"grade"`
}

// stepResultJSON is the answer of instance init and instance transition.
type stepResultJSON struct {
	Namespace   string         `json:"namespace"`
	ID          string         `json:"id"`
	Incarnation uint64         `json:"incarnation"`
	Seq         uint64         `json:"seq"`
	FromState   string         `json:"from_state"`
	Action      string         `json:"action"`
	State       string         `json:"state"`
	Verdict     string         `json:"verdict"`
	Judgement   *judgementJSON `json:"judgement"`
	Rejected    bool           `json:"rejected"`
	Duplicate   bool           `json:"duplicate"`
	OffModel    bool           `json:"off_model"`
	// RunViolation is null unless the steps violate the specification by themselves.
	RunViolation *runViolationJSON `json:"run_violation"`
	Spec         string            `json:"spec"`
	SpecVersion  uint64            `json:"spec_version"`
	ModelVersion uint64            `json:"model_version"`
	Shard        uint32            `json:"shard"`
	Index        uint64            `json:"index"`
}

// instanceJSON is one instance, as in instance list.
type instanceJSON struct {
	Namespace   string            `json:"namespace"`
	ID          string            `json:"id"`
	Incarnation uint64            `json:"incarnation"`
	Spec        string            `json:"spec"`
	SpecVersion uint64            `json:"spec_version"`
	State       string            `json:"state"`
	Seq         uint64            `json:"seq"`
	Meta        map[string]string `json:"meta"`
	CreatedAt   jsonTime          `json:"created_at"`
	UpdatedAt   jsonTime          `json:"updated_at"`
	OffModel    bool              `json:"off_model"`
	// RunViolation is null unless the steps violate the specification by themselves.
	RunViolation *runViolationJSON `json:"run_violation"`
	Awaiting     uint32            `json:"awaiting"`
	Deadline     jsonTime          `json:"deadline"`
	TimedOut     bool              `json:"timed_out"`
	PruneAt      jsonTime          `json:"prune_at"`
	Shard        uint32            `json:"shard"`
}

// stepJSON is one entry of a history.
type stepJSON struct {
	Seq       uint64         `json:"seq"`
	FromState string         `json:"from_state"`
	Action    string         `json:"action"`
	State     string         `json:"state"`
	Time      jsonTime       `json:"time"`
	EventTime jsonTime       `json:"event_time"`
	Verdict   string         `json:"verdict"`
	Judgement *judgementJSON `json:"judgement"`
	// RunViolation is null unless the step proves that the steps of the instance
	// violate the specification by themselves.
	RunViolation *runViolationJSON `json:"run_violation"`
}

// readJSON says how fresh an answer is.
type readJSON struct {
	Consistency string  `json:"consistency"`
	Shard       uint32  `json:"shard"`
	Index       uint64  `json:"index"`
	AgeSeconds  float64 `json:"age_seconds"`
	NodeID      string  `json:"node_id"`
}

// instanceHistoryJSON is the answer of instance get: the instance and its
// kept steps, oldest first, or with --history a page of them, newest first.
type instanceHistoryJSON struct {
	instanceJSON
	FirstKeptSeq uint64     `json:"first_kept_seq"`
	History      []stepJSON `json:"history"`
	NextPage     string     `json:"next_page"`
	Read         readJSON   `json:"read"`
}

// deletedJSON is the answer of instance delete.
type deletedJSON struct {
	Namespace   string `json:"namespace"`
	ID          string `json:"id"`
	Deleted     bool   `json:"deleted"`
	Incarnation uint64 `json:"incarnation"`
	Duplicate   bool   `json:"duplicate"`
}

// deletedMatchingJSON is the answer of instance delete --where.
type deletedMatchingJSON struct {
	Namespace   string `json:"namespace"`
	DryRun      bool   `json:"dry_run"`
	Matched     uint64 `json:"matched"`
	Deleted     uint64 `json:"deleted"`
	MovedOn     uint64 `json:"moved_on"`
	Examined    uint64 `json:"examined"`
	Unevaluated uint64 `json:"unevaluated"`
}

// specAppliedJSON is one element of the answer of spec apply.
type specAppliedJSON struct {
	File         string `json:"file"`
	Name         string `json:"name"`
	Version      uint64 `json:"version"`
	Changed      bool   `json:"changed"`
	ModelMode    string `json:"model_mode"`
	CatalogIndex uint64 `json:"catalog_index"`
}

// specJSON is a specification, as in spec get.
type specJSON struct {
	Name              string           `json:"name"`
	Version           uint64           `json:"version"`
	InitialState      string           `json:"initial_state"`
	States            []string         `json:"states"`
	TerminalStates    []string         `json:"terminal_states"`
	Transitions       []transitionJSON `json:"transitions"`
	TransitionTimeout *string          `json:"transition_timeout"`
	TimeoutInTerminal bool             `json:"timeout_in_terminal_states"`
	PruneTimeout      *string          `json:"prune_timeout"`
	PrunableStates    prunableJSON     `json:"prunable_states"`
	OnMissingModel    string           `json:"on_missing_model"`
	OnError           errorPolicyJSON  `json:"on_error"`
	HistoryLimit      uint32           `json:"history_limit"`
}

// prunableJSON selects the states in which instances may be pruned: states is
// filled for the kind "list" only.
type prunableJSON struct {
	Kind   string   `json:"kind"`
	States []string `json:"states"`
}

// errorPolicyJSON tells, per reason, whether a caller's step is accepted or rejected.
type errorPolicyJSON struct {
	DeviationStillEquivalent string `json:"deviation_still_equivalent"`
	DeviationNotEquivalent   string `json:"deviation_not_equivalent"`
	TransitionTimeout        string `json:"transition_timeout"`
}

// specInfoJSON is one element of the answer of spec list.
type specInfoJSON struct {
	Name        string     `json:"name"`
	Version     uint64     `json:"version"`
	States      uint32     `json:"states"`
	Transitions uint32     `json:"transitions"`
	AppliedAt   jsonTime   `json:"applied_at"`
	Model       *modelJSON `json:"model"`
}

// specDeletedJSON is the answer of spec delete.
type specDeletedJSON struct {
	Name         string `json:"name"`
	Deleted      bool   `json:"deleted"`
	CatalogIndex uint64 `json:"catalog_index"`
}

// lintJSON is one element of the answer of spec lint: one file.
type lintJSON struct {
	File     string        `json:"file"`
	Name     string        `json:"name"`
	Valid    bool          `json:"valid"`
	Findings []findingJSON `json:"findings"`
}

// findingJSON is one remark of lint. Line and column are 0 when it is about the whole.
type findingJSON struct {
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Message  string `json:"message"`
	Hint     string `json:"hint"`
}

// modelJSON tells about an implementation model.
type modelJSON struct {
	Spec               string `json:"spec"`
	SpecVersion        uint64 `json:"spec_version"`
	Mode               string `json:"mode"`
	Version            uint64 `json:"version"`
	ModeRevision       uint64 `json:"mode_revision"`
	Transitions        uint32 `json:"transitions"`
	Deviations         uint32 `json:"deviations"`
	AcknowledgedShards uint32 `json:"acknowledged_shards"`
	Shards             uint32 `json:"shards"`
	Equivalent         *bool  `json:"equivalent"`
}

// modelContentJSON is the answer of model get.
type modelContentJSON struct {
	modelJSON
	Relation []transitionJSON `json:"relation"`
}

// modelExportJSON is one element of the answer of model export.
type modelExportJSON struct {
	Spec        string `json:"spec"`
	File        string `json:"file"`
	Transitions int    `json:"transitions"`
	Learning    bool   `json:"learning"`
	Mode        string `json:"mode"`
}

// modelImportJSON is one element of the answer of model import.
type modelImportJSON struct {
	File  string `json:"file"`
	Spec  string `json:"spec"`
	Added uint32 `json:"added"`
	// Removed counts what --replace took out.
	Removed uint32    `json:"removed"`
	Sealed  bool      `json:"sealed"`
	Model   modelJSON `json:"model"`
	// Grade is nil unless the model is known not to be equivalent.
	Grade *modelGradeJSON `json:"grade"`
}

// replayJSON is the summary of replay. OK, the two deviations, Pending and
// Errors together are Events.
type replayJSON struct {
	Cases                    int64   `json:"cases"`
	Events                   int64   `json:"events"`
	OK                       int64   `json:"ok"`
	DeviationStillEquivalent int64   `json:"deviation_still_equivalent"`
	DeviationNotEquivalent   int64   `json:"deviation_not_equivalent"`
	Pending                  int64   `json:"pending"`
	Errors                   int64   `json:"errors"`
	Retries                  int64   `json:"retries"`
	Seconds                  float64 `json:"seconds"`
	EventsPerSecond          float64 `json:"events_per_second"`
}

// checkJSON is the answer of check.
type checkJSON struct {
	Models            []checkedModelJSON `json:"models"`
	SpecsWithoutModel []string           `json:"specs_without_model"`
	Equivalent        int                `json:"equivalent"`
	NotEquivalent     int                `json:"not_equivalent"`
	Failed            int                `json:"failed"`
	Learning          int                `json:"learning"`
	Specifications    int                `json:"specifications"`
}

// checkedModelJSON is what check found about one model. Equivalent is null
// when the model could not be checked; Error then tells why.
type checkedModelJSON struct {
	File        string `json:"file"`
	Spec        string `json:"spec"`
	Equivalent  *bool  `json:"equivalent"`
	Reason      string `json:"reason"`
	Explanation string `json:"explanation"`
	Learning    bool   `json:"learning"`
	Transitions int    `json:"transitions"`
	Error       string `json:"error"`
	// Report is null when the model was not compared: it has failed, or it has no
	// initial state or several.
	Report *reportJSON `json:"report"`
}

// deviationJSON is one element of the answer of deviations.
type deviationJSON struct {
	Spec          string         `json:"spec"`
	SpecVersion   uint64         `json:"spec_version"`
	Transition    transitionJSON `json:"transition"`
	Verdict       string         `json:"verdict"`
	Reason        string         `json:"reason"`
	Explanation   string         `json:"explanation"`
	Grade         *string        `json:"grade"`
	Count         uint64         `json:"count"`
	FirstInstance string         `json:"first_instance"`
	FirstTime     jsonTime       `json:"first_time"`
	LastInstance  string         `json:"last_instance"`
	LastTime      jsonTime       `json:"last_time"`
	// Joint is null until the deviation was judged with those of all shards.
	Joint *jointJSON `json:"joint"`
	// Rejection is null unless somebody has rejected the deviation.
	Rejection *rejectionJSON `json:"rejection"`
}

// statusJSON is the answer of cluster status.
type statusJSON struct {
	ClusterID     string      `json:"cluster_id"`
	ClusterName   string      `json:"cluster_name"`
	NodeID        string      `json:"node_id"`
	FeatureLevel  uint32      `json:"feature_level"`
	ReplicasAsked uint32      `json:"replicas_asked"`
	Paused        bool        `json:"placement_paused"`
	Healthy       bool        `json:"healthy"`
	Problems      []string    `json:"problems"`
	Nodes         []nodeJSON  `json:"nodes"`
	Catalog       shardJSON   `json:"catalog"`
	Shards        []shardJSON `json:"shards"`
}

// nodeJSON is one node of the cluster.
type nodeJSON struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	ClientAddress string `json:"client_address"`
	PeerAddress   string `json:"peer_address"`
	State         string `json:"state"`
	Gossip        string `json:"gossip"`
	Reachable     bool   `json:"reachable"`
	Version       string `json:"version"`
	Replicas      uint32 `json:"replicas"`
	Leaders       uint32 `json:"leaders"`
	CatalogVoter  bool   `json:"catalog_voter"`
	// ClockOffset is how far the node's clock is ahead of the median, null when it
	// could not measure.
	ClockOffset *string  `json:"clock_offset"`
	Alarms      []string `json:"alarms"`
	// Space is absent when the node does not tell.
	Space *spaceJSON `json:"space,omitempty"`
}

// shardJSON is one Raft group; id 0 is the catalog.
type shardJSON struct {
	ID         uint32 `json:"id"`
	Leader     string `json:"leader"`
	LeaderName string `json:"leader_name"`
	Term       uint64 `json:"term"`
	Formed     bool   `json:"formed"`
	Instances  uint64 `json:"instances"`
	Awaiting   uint64 `json:"awaiting"`
	// FailureTolerance is nil when nobody knows the configuration.
	FailureTolerance *int32        `json:"failure_tolerance"`
	Replicas         []replicaJSON `json:"replicas"`
}

// replicaJSON is one member of a Raft group.
type replicaJSON struct {
	NodeID         string `json:"node_id"`
	NodeName       string `json:"node_name"`
	State          string `json:"state"`
	Voter          bool   `json:"voter"`
	AppliedIndex   uint64 `json:"applied_index"`
	CommitIndex    uint64 `json:"commit_index"`
	Lag            uint64 `json:"lag"`
	StateHash      string `json:"state_hash"`
	StateHashIndex uint64 `json:"state_hash_index"`
	Error          string `json:"error"`
}

// benchJSON is the result of bench.
type benchJSON struct {
	Transitions          int64   `json:"transitions"`
	TransitionsPerSecond float64 `json:"transitions_per_second"`
	P50Millis            float64 `json:"p50_ms"`
	P99Millis            float64 `json:"p99_ms"`
	MaxMillis            float64 `json:"max_ms"`
	Errors               int64   `json:"errors"`
	Seconds              float64 `json:"seconds"`
	Concurrency          int     `json:"concurrency"`
	Instances            int     `json:"instances"`
	Batch                int     `json:"batch"`
}

// versionJSON is the answer of version. Server is null unless it was asked for.
type versionJSON struct {
	Version   string             `json:"version"`
	Commit    string             `json:"commit"`
	GoVersion string             `json:"go_version"`
	Platform  string             `json:"platform"`
	Server    *serverVersionJSON `json:"server"`
}

// serverVersionJSON is the version of the server that answered.
type serverVersionJSON struct {
	Version      string `json:"version"`
	FeatureLevel uint32 `json:"feature_level"`
	GoVersion    string `json:"go_version"`
}
