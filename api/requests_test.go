package api

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	invalid  = typesv1.Reason_REASON_INVALID_ARGUMENT
	limit    = typesv1.Reason_REASON_LIMIT_EXCEEDED
	reserved = typesv1.Reason_REASON_RESERVED_NAME
	fine     = typesv1.Reason_REASON_UNSPECIFIED
)

// fieldValue is a value that a field may have, and what is said about it.
type fieldValue struct {
	name  string
	value any
	want  typesv1.Reason
}

func text(n int) string { return strings.Repeat("x", n) }

// multi has n bytes of which most belong to characters of two bytes: limits count bytes.
func multi(n int) string { return strings.Repeat("é", n/2) + text(n%2) }

// texts are the values that cross every rule of a text of 1 to n bytes.
func texts(n int, empty typesv1.Reason) []fieldValue {
	return []fieldValue{
		{"empty", "", empty},
		{"one byte", "x", fine},
		{"full length", text(n), fine},
		{"full length in two-byte characters", multi(n), fine},
		{"one byte too many", text(n + 1), limit},
		{"one byte too many in two-byte characters", multi(n + 1), limit},
		{"far too long", text(20 * n), limit},
		{"a NUL", "a\x00b", invalid},
		{"a newline", "a\nb", invalid},
		{"not UTF-8", "a\xff", invalid},
	}
}

func also(values []fieldValue, more ...fieldValue) []fieldValue { return append(values, more...) }

var (
	namespaces = texts(128, fine)
	ids        = also(texts(512, invalid), fieldValue{"a reserved name", "__internal__", fine})
	states     = also(texts(256, invalid), fieldValue{"tau", "__internal__", reserved}, fieldValue{"initialisation", "__initialisation__", reserved})
	actions    = also(texts(256, invalid), fieldValue{"tau", "__internal__", fine}, fieldValue{"initialisation", "__initialisation__", reserved},
		fieldValue{"called i", "i", fine})
	specNames = also(texts(256, invalid), fieldValue{"a slash", "a/b", invalid}, fieldValue{"a backslash", `a\b`, invalid}, fieldValue{"a leading dot", ".a", invalid})
	times     = []fieldValue{
		{"now", &timestamppb.Timestamp{Seconds: 1_800_000_000}, fine},
		{"the start of 1970", &timestamppb.Timestamp{}, fine},
		{"too many nanoseconds", &timestamppb.Timestamp{Nanos: 1_000_000_000}, invalid},
		{"negative nanoseconds", &timestamppb.Timestamp{Seconds: 5, Nanos: -1}, invalid},
		{"the year 0", &timestamppb.Timestamp{Seconds: -62_200_000_000}, invalid},
		{"the year 1600", &timestamppb.Timestamp{Seconds: -11_670_000_000}, invalid},
		{"the first that fits", &timestamppb.Timestamp{Seconds: math.MinInt64/1_000_000_000 - 1, Nanos: 1_000_000_000 - 854_775_808}, fine},
		{"one before", &timestamppb.Timestamp{Seconds: math.MinInt64/1_000_000_000 - 1, Nanos: 1_000_000_000 - 854_775_809}, invalid},
		{"the last that fits", &timestamppb.Timestamp{Seconds: math.MaxInt64 / 1_000_000_000, Nanos: 854_775_807}, fine},
		{"one behind", &timestamppb.Timestamp{Seconds: math.MaxInt64 / 1_000_000_000, Nanos: 854_775_808}, invalid},
		{"the year 3000", &timestamppb.Timestamp{Seconds: 32_503_680_000}, invalid},
	}
	consistencies = []fieldValue{
		{"unspecified", spexv1.Consistency(0), fine}, {"linearizable", spexv1.Consistency(1), fine},
		{"stale", spexv1.Consistency(2), fine}, {"unknown", spexv1.Consistency(3), invalid}, {"negative", spexv1.Consistency(-1), invalid},
	}
	pageTokens = []fieldValue{{"empty", "", fine}, {"full length", text(4096), fine}, {"too long", text(4097), limit}}
	uuid7      = "01910b0e-9c3a-7def-8123-456789abcdef"
	// Ids that carry no time, or not in the form that everybody reads.
	untimed = []string{"order-1", "01910b0e-9c3a-4def-8123-456789abcdef", "01910b0e9c3a7def8123456789abcdef",
		"{01910b0e-9c3a-7def-8123-456789abcdef}", "01910b0e-9c3a-7def-0123-456789abcdef", "01910b0e-9c3a-7def-8123-456789abcdeg"}
)

var stuckTimes = []fieldValue{{"none", int64(0), fine}, {"an hour", int64(time.Hour), fine}, {"negative", int64(-1), invalid}}

// wheres are not compiled here, so that any text will do.
func wheres(empty typesv1.Reason) []fieldValue {
	return []fieldValue{{"empty", "", empty}, {"full length", text(4096), fine}, {"too long", text(4097), limit}, {"not UTF-8", "a\xff", invalid}}
}

func counts(max uint32) []fieldValue {
	return []fieldValue{{"none", uint32(0), fine}, {"one", uint32(1), fine}, {"the limit", max, fine},
		{"one more", max + 1, limit}, {"the largest number", uint32(math.MaxUint32), limit}}
}

func requestIDs(untimedReason typesv1.Reason) []fieldValue {
	values := []fieldValue{{"empty", "", fine}, {"UUIDv7", uuid7, fine}, {"UUIDv7 in capitals", strings.ToUpper(uuid7), fine},
		{"full length", text(128), untimedReason}, {"too long", text(129), limit}, {"a newline", "a\nb", invalid}}
	for _, id := range untimed {
		values = append(values, fieldValue{id, id, untimedReason})
	}
	return values
}

func metas() []fieldValue {
	keys := func(n int) map[string]string {
		m := make(map[string]string)
		for i := range n {
			m[fmt.Sprint("k", i)] = ""
		}
		return m
	}
	return []fieldValue{
		{"none", map[string]string(nil), fine}, {"64 keys", keys(64), fine}, {"65 keys", keys(65), limit},
		{"8 KiB", map[string]string{"k": text(8<<10 - 1)}, fine}, {"8 KiB and a byte", map[string]string{"k": text(8 << 10)}, limit},
		{"a long key", map[string]string{text(8<<10 + 1): ""}, limit}, {"an empty key", map[string]string{"": "v"}, invalid},
		{"a key with a newline", map[string]string{"a\nb": "v"}, invalid}, {"a value that is not UTF-8", map[string]string{"k": "\xff"}, invalid},
	}
}

// uuids makes ids as a server does.
func uuids() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

// requestRules says for one kind of request how to check it, a valid one, and
// the values of its fields. A field that takes every value has none.
type requestRules struct {
	valid  proto.Message
	check  func(m proto.Message) error
	fields map[string][]fieldValue
}

func apiRules() map[string]requestRules {
	return map[string]requestRules{
		"InitInstance": {
			&spexv1.InitInstanceRequest{Spec: "s", Id: "i"},
			func(m proto.Message) error { return CheckInit(m.(*spexv1.InitInstanceRequest), uuids) },
			map[string][]fieldValue{"namespace": namespaces, "spec": specNames, "spec_version": nil, "id": ids,
				"initial_state": also([]fieldValue{{"empty", "", fine}}, states[1:]...), "meta": metas(),
				"request_id": requestIDs(fine), "event_time": times, "min_catalog_index": nil},
		},
		"Transition": {
			&spexv1.TransitionRequest{Id: "i", Action: "a", ToState: "s"},
			func(m proto.Message) error { return CheckTransition(m.(*spexv1.TransitionRequest), uuids) },
			map[string][]fieldValue{"namespace": namespaces, "id": ids, "action": actions, "to_state": states,
				"request_id": requestIDs(invalid), "expected_seq": nil, "event_time": times, "incarnation": nil},
		},
		"Transition with expected_seq": {
			&spexv1.TransitionRequest{Id: "i", Action: "a", ToState: "s", ExpectedSeq: 2},
			func(m proto.Message) error { return CheckTransition(m.(*spexv1.TransitionRequest), uuids) },
			map[string][]fieldValue{"request_id": requestIDs(fine)},
		},
		"DeleteInstance": {
			&spexv1.DeleteInstanceRequest{Id: "i"},
			func(m proto.Message) error { return CheckDelete(m.(*spexv1.DeleteInstanceRequest), uuids) },
			map[string][]fieldValue{"namespace": namespaces, "id": ids, "request_id": requestIDs(invalid), "incarnation": nil},
		},
		"DeleteInstance with incarnation": {
			&spexv1.DeleteInstanceRequest{Id: "i", Incarnation: 5},
			func(m proto.Message) error { return CheckDelete(m.(*spexv1.DeleteInstanceRequest), uuids) },
			map[string][]fieldValue{"request_id": requestIDs(fine)},
		},
		"GetInstance": {
			&spexv1.GetInstanceRequest{Id: "i"},
			func(m proto.Message) error { return CheckGet(m.(*spexv1.GetInstanceRequest)) },
			map[string][]fieldValue{"namespace": namespaces, "id": ids, "consistency": consistencies, "min_index": nil},
		},
		"GetHistory": {
			&spexv1.GetHistoryRequest{Id: "i"},
			func(m proto.Message) error { return CheckHistory(m.(*spexv1.GetHistoryRequest)) },
			map[string][]fieldValue{"namespace": namespaces, "id": ids, "consistency": consistencies, "min_index": nil,
				"page_size": counts(1000), "page_token": pageTokens, "newest_first": nil},
		},
		"ListInstances": {
			&spexv1.ListInstancesRequest{},
			func(m proto.Message) error { return CheckList(m.(*spexv1.ListInstancesRequest)) },
			map[string][]fieldValue{"namespace": namespaces, "spec": also([]fieldValue{{"empty", "", fine}}, specNames[1:]...),
				"state": also([]fieldValue{{"empty", "", fine}}, states[1:]...), "consistency": consistencies,
				"page_size": counts(1000), "page_token": pageTokens, "where": wheres(fine), "stuck_nanos": stuckTimes},
		},
		"DeleteMatching": {
			&spexv1.DeleteMatchingRequest{Where: "true"},
			func(m proto.Message) error { return CheckDeleteMatching(m.(*spexv1.DeleteMatchingRequest)) },
			map[string][]fieldValue{"namespace": namespaces, "spec": also([]fieldValue{{"empty", "", fine}}, specNames[1:]...),
				"state": also([]fieldValue{{"empty", "", fine}}, states[1:]...), "where": wheres(invalid), "stuck_nanos": stuckTimes,
				"dry_run": nil, "page_token": pageTokens},
		},
		"ListDeviations": {
			&spexv1.ListDeviationsRequest{},
			func(m proto.Message) error { return CheckDeviations(m.(*spexv1.ListDeviationsRequest)) },
			map[string][]fieldValue{"namespace": namespaces, "spec": also([]fieldValue{{"empty", "", fine}}, specNames[1:]...),
				"consistency": consistencies, "limit": counts(10_000)},
		},
		"transition of a model": {
			&typesv1.Transition{From: "s", Action: "a", To: "t"},
			func(m proto.Message) error { return CheckModelTransition(3, m.(*typesv1.Transition)) },
			map[string][]fieldValue{"from": states, "to": states,
				// From is set, which an initialisation must not have.
				"action": also(append([]fieldValue(nil), actions[:len(actions)-2]...), fieldValue{"initialisation", "__initialisation__", invalid})},
		},
		"initialisation of a model": {
			&typesv1.Transition{Action: "__initialisation__", To: "t"},
			func(m proto.Message) error { return CheckModelTransition(3, m.(*typesv1.Transition)) },
			map[string][]fieldValue{"from": {{"empty", "", fine}, {"a state", "s", invalid}}, "to": states},
		},
	}
}

func setField(m proto.Message, name string, value any) {
	r := m.ProtoReflect()
	field := r.Descriptor().Fields().ByName(protoreflect.Name(name))
	switch v := value.(type) {
	case map[string]string:
		entries := r.Mutable(field).Map()
		for k, e := range v {
			entries.Set(protoreflect.ValueOfString(k).MapKey(), protoreflect.ValueOfString(e))
		}
	case *timestamppb.Timestamp:
		r.Set(field, protoreflect.ValueOfMessage(proto.Clone(v).ProtoReflect()))
	case spexv1.Consistency:
		r.Set(field, protoreflect.ValueOfEnum(v.Number()))
	default:
		r.Set(field, protoreflect.ValueOf(v))
	}
}

// TestEveryLimitOfEveryField crosses all limits, one field at a time, and
// checks that a refusal has its reason and names the field.
func TestEveryLimitOfEveryField(t *testing.T) {
	for kind, rules := range apiRules() {
		for field, values := range rules.fields {
			for _, v := range values {
				t.Run(kind+"/"+field+"/"+v.name, func(t *testing.T) {
					m := proto.Clone(rules.valid)
					setField(m, field, v.value)
					err := rules.check(m)
					if got := fsm.ReasonOf(err); got != v.want || err != nil && v.want == fine {
						t.Fatalf("got %v (%v), want %v", got, err, v.want)
					}
					if err == nil {
						return
					}
					if !strings.Contains(err.Error(), field) {
						t.Errorf("the message does not name the field: %v", err)
					}
					if !strings.Contains(err.Error(), ";") {
						t.Errorf("the message does not say how to mend it: %v", err)
					}
					if len(err.Error()) > 1000 {
						t.Errorf("the message repeats the whole value: %d bytes", len(err.Error()))
					}
				})
			}
		}
		if err := rules.check(proto.Clone(rules.valid)); err != nil {
			t.Errorf("%s: the valid request is refused: %v", kind, err)
		}
	}
}

// TestNoFieldWithoutRule finds fields that were added to a request and not to the table.
func TestNoFieldWithoutRule(t *testing.T) {
	for kind, rules := range apiRules() {
		if strings.Contains(kind, " ") {
			continue // a variant of another kind
		}
		fields := rules.valid.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			if _, ok := rules.fields[string(fields.Get(i).Name())]; !ok {
				t.Errorf("%s: the field %s has no rule", kind, fields.Get(i).Name())
			}
		}
	}
}

func TestNamedRequests(t *testing.T) {
	for _, field := range []string{"name", "spec"} {
		for _, v := range specNames {
			namespace := ""
			if got := fsm.ReasonOf(CheckNamed(&namespace, field, v.value.(string))); got != v.want {
				t.Errorf("%s %s: %v, want %v", field, v.name, got, v.want)
			}
		}
	}
	for _, v := range namespaces {
		namespace := v.value.(string)
		if got := fsm.ReasonOf(CheckNamespace(&namespace)); got != v.want {
			t.Errorf("namespace %s: %v, want %v", v.name, got, v.want)
		}
		if v.name == "empty" && namespace != "default" {
			t.Errorf("an empty namespace became %q", namespace)
		}
	}
}

func TestEventTimeZeroIsNoTime(t *testing.T) {
	r := &spexv1.TransitionRequest{Id: "i", Action: "a", ToState: "s", EventTime: &timestamppb.Timestamp{}}
	if err := CheckTransition(r, uuids); err != nil || r.EventTime != nil {
		t.Errorf("got %v, %v", r.EventTime, err)
	}
}

// TestUnknownFieldsCountTowardTheCommand: a newer client may send more than this release knows.
func TestUnknownFieldsCountTowardTheCommand(t *testing.T) {
	r := &spexv1.InitInstanceRequest{Spec: "s", Id: "i"}
	r.ProtoReflect().SetUnknown(append([]byte{0xfa, 0x7f, 0x80, 0x80, 0x04}, make([]byte, 64<<10)...))
	if got := fsm.ReasonOf(CheckInit(r, uuids)); got != limit {
		t.Errorf("got %v", got)
	}
}

func TestAssignedRequestIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		r := &spexv1.DeleteInstanceRequest{Id: "i"}
		if err := CheckDelete(r, uuids); err != nil {
			t.Fatal(err)
		}
		if id, err := uuid.Parse(r.RequestId); err != nil || id.Version() != 7 || seen[r.RequestId] {
			t.Fatalf("assigned %q: %v", r.RequestId, err)
		}
		seen[r.RequestId] = true
	}
}

func TestUntimedRequestIDSaysWhatWouldHelp(t *testing.T) {
	err := CheckTransition(&spexv1.TransitionRequest{Id: "i", Action: "a", ToState: "s", RequestId: "order-1"}, uuids)
	if err == nil || !strings.Contains(err.Error(), "UUIDv7") || !strings.Contains(err.Error(), "expected_seq") || !strings.Contains(err.Error(), "no time") {
		t.Errorf("transition: %v", err)
	}
	err = CheckDelete(&spexv1.DeleteInstanceRequest{Id: "i", RequestId: "order-1"}, uuids)
	if err == nil || !strings.Contains(err.Error(), "incarnation") {
		t.Errorf("delete: %v", err)
	}
}
