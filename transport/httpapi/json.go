package httpapi

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
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
func (m jsonLines) NewDecoder(r io.Reader) runtime.Decoder { return oneDocument{m.pb(), r} }
func (jsonLines) Delimiter() []byte                        { return []byte{'\n'} }

// oneDocument decodes a body that is one JSON document. An empty one leaves the
// message as it is: everything may stand in the path.
type oneDocument struct {
	pb *runtime.JSONPb
	r  io.Reader
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
		return fmt.Errorf("the body is not the JSON of a %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return nil
}

// strictQuery is the gateway's parser of queries, which ignores what it does not
// know, with that mended.
type strictQuery struct{ runtime.DefaultQueryParser }

// Parse fills msg from the query.
func (q strictQuery) Parse(msg proto.Message, values url.Values, filter *utilities.DoubleArray) error {
	fields := msg.ProtoReflect().Descriptor().Fields()
	for key := range values {
		name, _, _ := strings.Cut(key, ".")
		name, _, _ = strings.Cut(name, "[")
		if fields.ByTextName(name) == nil && fields.ByJSONName(name) == nil {
			return fmt.Errorf("there is no parameter %q: GET /openapi.json lists them", key)
		}
		if filter.HasCommonPrefix([]string{name}) {
			return fmt.Errorf("parameter %q stands in the path already", key)
		}
	}
	return q.DefaultQueryParser.Parse(msg, values, filter)
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
