package httpapi

import (
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	// Fields have the names of the schema, and are there even when they are empty,
	// so that programs need not know defaults.
	jsonOut = protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}
	// Unknown fields are errors: a misspelt one must not be lost.
	jsonIn = protojson.UnmarshalOptions{}
)

// jsonLines is how messages are written: JSON, a line for each in streams.
type jsonLines struct{}

func (jsonLines) pb() *runtime.JSONPb {
	return &runtime.JSONPb{MarshalOptions: jsonOut, UnmarshalOptions: jsonIn}
}

func (m jsonLines) Marshal(v any) ([]byte, error)          { return m.pb().Marshal(v) }
func (m jsonLines) Unmarshal(data []byte, v any) error     { return m.pb().Unmarshal(data, v) }
func (m jsonLines) NewEncoder(w io.Writer) runtime.Encoder { return m.pb().NewEncoder(w) }
func (jsonLines) ContentType(any) string                   { return "application/json" }
func (jsonLines) StreamContentType(any) string             { return "application/x-ndjson" }
func (m jsonLines) NewDecoder(r io.Reader) runtime.Decoder {
	body, _ := r.(pathBody)
	return oneDocument{m.pb(), r, body.path}
}
func (jsonLines) Delimiter() []byte { return []byte{'\n'} }

// pathBody is a body that knows what stands in the path of its request, which
// the gateway writes over what the body says.
type pathBody struct {
	io.ReadCloser
	path map[string]string
}

// oneDocument decodes a body that is one JSON document. An empty one leaves the
// message as it is: everything may stand in the path.
type oneDocument struct {
	pb   *runtime.JSONPb
	r    io.Reader
	path map[string]string
}

func (d oneDocument) Decode(v any) error {
	data, err := io.ReadAll(d.r)
	if err != nil {
		return err
	}
	if len(strings.TrimSpace(string(data))) == 0 {
		return io.EOF
	}
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("cannot read JSON into a %T", v)
	}
	// Unlike a decoder of a stream, this refuses what follows the document.
	if err := d.pb.UnmarshalOptions.Unmarshal(data, m); err != nil {
		return fmt.Errorf("the body is not the JSON of a %s: %s", m.ProtoReflect().Descriptor().FullName(), schemaName(err.Error()))
	}
	fields := m.ProtoReflect().Descriptor().Fields()
	for name, inPath := range d.path {
		fd := fields.ByTextName(name)
		if fd == nil || !m.ProtoReflect().Has(fd) {
			continue
		}
		if inBody := m.ProtoReflect().Get(fd).String(); inBody != inPath {
			return fmt.Errorf("%s is %q in the path and %q in the body: leave it out of the body", name, inPath, inBody)
		}
	}
	return nil
}

// badField finds the field that protojson complains about, under its name in JSON
// of another style than ours.
var badField = regexp.MustCompile(`^(.*?invalid value for \w+ field )(\w+)`)

// schemaName writes the name of a field in an error as it is in the schema.
func schemaName(text string) string {
	m := badField.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	var name strings.Builder
	for _, r := range m[2] {
		if unicode.IsUpper(r) {
			name.WriteByte('_')
		}
		name.WriteRune(unicode.ToLower(r))
	}
	return m[1] + name.String() + text[len(m[0]):]
}

// strictQuery is the gateway's parser of queries, which ignores what it does not
// know, with that mended.
type strictQuery struct{ runtime.DefaultQueryParser }

// Parse fills msg from the query.
func (q strictQuery) Parse(msg proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	fields := msg.ProtoReflect().Descriptor().Fields()
	for key, given := range values {
		name, _, _ := strings.Cut(key, ".")
		name, _, _ = strings.Cut(name, "[")
		fd := fields.ByTextName(name)
		if fd == nil {
			fd = fields.ByJSONName(name)
		}
		if fd == nil {
			return fmt.Errorf("there is no parameter %q: GET /openapi.json lists them", key)
		}
		if filter.HasCommonPrefix([]string{name}) {
			return fmt.Errorf("parameter %q stands in the path already", key)
		}
		if err := checkEnum(key, fd.Enum(), given); err != nil {
			return err
		}
	}
	return q.DefaultQueryParser.Parse(msg, values, filter)
}

// checkEnum says which values there are, when it is one of a parameter that has
// only some. Numbers are left to the gateway. The enum is nil for other parameters.
func checkEnum(key string, enum protoreflect.EnumDescriptor, given []string) error {
	if enum == nil {
		return nil
	}
	var names []string
	for i := range enum.Values().Len() {
		if v := enum.Values().Get(i); v.Number() != 0 {
			names = append(names, string(v.Name()))
		}
	}
	for _, value := range given {
		_, notNumber := strconv.Atoi(value)
		if notNumber != nil && enum.Values().ByName(protoreflect.Name(value)) == nil {
			return fmt.Errorf("parameter %q: there is no %q: give one of %s", key, value, strings.Join(names, ", "))
		}
	}
	return nil
}

// metadataKey says under which name gRPC sees an HTTP header: under its own, so
// that an authenticator and the trace context need not know of HTTP. Headers of
// one hop, and those that gRPC makes itself, stay here.
func metadataKey(header string) (string, bool) {
	key := strings.ToLower(header)
	switch key {
	case "accept", "accept-charset", "accept-encoding", "accept-language", "authorization", "cache-control", "connection", "content-encoding",
		"content-length", "content-type", "cookie", "expect", "host", "keep-alive", "origin", "pragma", "proxy-authenticate",
		"proxy-authorization", "referer", "te", "trailer", "transfer-encoding", "upgrade", "user-agent":
		// The gateway itself passes authorization on.
		return "", false
	}
	if strings.HasPrefix(key, "grpc-") || strings.HasPrefix(key, "sec-") || strings.HasPrefix(key, ":") {
		return "", false
	}
	return key, true
}

func noHeader(string) (string, bool) { return "", false }
