package fsm

import (
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	statev1 "github.com/spexio/spex/proto/spex/state/v1"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// shape lists the parts of a message in which something unknown can hide, so
// that looking for it does not visit every string of every command.
type shape struct {
	messages, enums []protoreflect.FieldDescriptor
	// oneofs hold messages: asking which one is there is one question, not one
	// for each kind of command.
	oneofs []protoreflect.OneofDescriptor
}

// shapes holds what entries and payloads are made of. It is never changed after
// the package is initialised.
var shapes = func() map[protoreflect.FullName]shape {
	all := map[protoreflect.FullName]shape{}
	for _, m := range []protoreflect.ProtoMessage{
		&statev1.Entry{}, &statev1.SpecificationContent{}, &statev1.ModelContent{}, &statev1.ModelImport{}, &typesv1.Specification{},
	} {
		addShape(all, m.ProtoReflect().Descriptor())
	}
	return all
}()

func addShape(all map[protoreflect.FullName]shape, d protoreflect.MessageDescriptor) {
	if _, ok := all[d.FullName()]; ok {
		return
	}
	all[d.FullName()] = shape{}
	var s shape
	for i := range d.Fields().Len() {
		switch f := d.Fields().Get(i); {
		case f.IsMap(): // of scalars: what is unknown in an entry of a map is lost in decoding
		case f.Message() != nil && f.ContainingOneof() != nil:
			if o := f.ContainingOneof(); !slices.Contains(s.oneofs, o) {
				s.oneofs = append(s.oneofs, o)
			}
			addShape(all, f.Message())
		case f.Message() != nil:
			s.messages = append(s.messages, f)
			addShape(all, f.Message())
		case f.Enum() != nil:
			s.enums = append(s.enums, f)
		}
	}
	all[d.FullName()] = s
}

// unknownIn looks for fields and values of enumerations that this build does
// not know, at any depth, and says what it found first. An addition has to come
// with a new feature level; this is the net below that rule, since a replica
// that ignored half of a command would diverge from one that did not.
func unknownIn(m protoreflect.Message) string {
	if len(m.GetUnknown()) > 0 {
		return "fields of " + string(m.Descriptor().Name())
	}
	s := shapes[m.Descriptor().FullName()]
	for _, f := range s.enums {
		if n := m.Get(f).Enum(); f.Enum().Values().ByNumber(n) == nil {
			return "a value of " + string(f.FullName())
		}
	}
	for _, o := range s.oneofs {
		if f := m.WhichOneof(o); f != nil && f.Message() != nil {
			if what := unknownIn(m.Get(f).Message()); what != "" {
				return what
			}
		}
	}
	for _, f := range s.messages {
		if !m.Has(f) {
			continue
		}
		if !f.IsList() {
			if what := unknownIn(m.Get(f).Message()); what != "" {
				return what
			}
			continue
		}
		list := m.Get(f).List()
		for i := range list.Len() {
			if what := unknownIn(list.Get(i).Message()); what != "" {
				return what
			}
		}
	}
	return ""
}
