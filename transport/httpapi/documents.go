package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/model"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

const (
	// pieceBytes and pieceTransitions are how much one message of an upload carries.
	pieceBytes       = 256 << 10
	pieceTransitions = 200

	typeJSON = "application/json"
	typeYAML = "application/yaml"
	typeText = "text/plain"
)

// isUpload reports whether the body of r is a specification or a model.
func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPost && (strings.HasSuffix(r.URL.Path, "/specifications") || strings.HasSuffix(r.URL.Path, "/import"))
}

// queryKeys refuses parameters that a call does not have.
func queryKeys(r *http.Request, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query is malformed: %v", err)
	}
	for key, v := range values {
		if !contains(known, key) {
			return nil, invalid("there is no parameter %q: GET /openapi.json lists them", key)
		}
		if len(v) != 1 {
			return nil, invalid("parameter %q is given %d times", key, len(v))
		}
	}
	return values, nil
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// readVersion reads the version parameter, 0 meaning the newest.
func readVersion(values url.Values, key string) (uint64, error) {
	text := values.Get(key)
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, invalid("%s %q: give a number", key, text)
	}
	return v, nil
}

// accepts reports whether the caller asks for one of these types by name.
func accepts(r *http.Request, types ...string) bool {
	for _, part := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		t, _, err := mime.ParseMediaType(part)
		if err == nil && contains(types, t) {
			return true
		}
	}
	return false
}

// contentType is the type of the body, without its parameters.
func contentType(r *http.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// applySpecification takes a specification as the file has it: YAML, and so JSON too.
func (a *API) applySpecification(ctx context.Context, w http.ResponseWriter, r *http.Request, params map[string]string) error {
	if _, err := queryKeys(r); err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return invalid("read the body: %v", err)
	}
	s, err := spec.Parse("body", body)
	if err != nil {
		return invalid("%v", err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.Proto())
	if err != nil {
		return err
	}
	stream, err := a.specs.ApplySpecification(ctx)
	if err != nil {
		return err
	}
	for piece := (&spexv1.ApplySpecificationRequest{Namespace: params["namespace"]}); len(data) > 0; piece = new(spexv1.ApplySpecificationRequest) {
		n := min(len(data), pieceBytes)
		piece.Data, data = data[:n], data[n:]
		if err := stream.Send(piece); errors.Is(err, io.EOF) {
			break // the server has answered already
		} else if err != nil {
			return err
		}
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	return writeMessage(w, answer)
}

// getSpecification answers a specification as the file has it.
func (a *API) getSpecification(ctx context.Context, w http.ResponseWriter, r *http.Request, params map[string]string) error {
	values, err := queryKeys(r, "version")
	if err != nil {
		return err
	}
	version, err := readVersion(values, "version")
	if err != nil {
		return err
	}
	stream, err := a.specs.GetSpecification(ctx, &spexv1.GetSpecificationRequest{Namespace: params["namespace"], Name: params["name"], Version: version})
	if err != nil {
		return err
	}
	var data []byte
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		version = max(version, piece.GetVersion())
		data = append(data, piece.GetData()...)
	}
	m := new(typesv1.Specification)
	if err := proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("decode the specification: %w", err)
	}
	s, err := spec.FromProto(m)
	if err != nil {
		return fmt.Errorf("read the specification: %w", err)
	}
	text, err := s.YAML()
	if err != nil {
		return err
	}
	as := typeYAML
	if !accepts(r, typeYAML, "application/x-yaml", "text/yaml") {
		as = typeJSON
		if text, err = jsonOfYAML(text); err != nil {
			return err
		}
	}
	w.Header().Set("Spex-Specification-Version", strconv.FormatUint(version, 10))
	writeBody(w, as, text)
	return nil
}

// jsonOfYAML rewrites a document that we wrote, for those who cannot read YAML.
func jsonOfYAML(text []byte) ([]byte, error) {
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return nil, fmt.Errorf("read our own YAML: %w", err)
	}
	out, err := json.Marshal(v)
	return append(out, '\n'), err
}

// getModel answers a model in one piece.
func (a *API) getModel(ctx context.Context, w http.ResponseWriter, r *http.Request, params map[string]string) error {
	values, err := queryKeys(r, "spec_version")
	if err != nil {
		return err
	}
	version, err := readVersion(values, "spec_version")
	if err != nil {
		return err
	}
	stream, err := a.models.GetModel(ctx, &spexv1.GetModelRequest{Namespace: params["namespace"], Spec: params["spec"], SpecVersion: version})
	if err != nil {
		return err
	}
	whole := new(spexv1.GetModelResponse)
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if piece.GetInfo() != nil {
			whole.Info = piece.GetInfo()
		}
		whole.Transitions = append(whole.Transitions, piece.GetTransitions()...)
	}
	if !accepts(r, typeText) {
		return writeMessage(w, whole)
	}
	f := model.File{Spec: params["spec"], Learning: whole.GetInfo().GetMode() == typesv1.ModelMode_MODEL_MODE_LEARNING}
	for _, t := range whole.GetTransitions() {
		f.Transitions = append(f.Transitions, model.Transition{From: t.GetFrom(), Action: t.GetAction(), To: t.GetTo()})
	}
	var text bytes.Buffer
	if err := model.Encode(&text, &f); err != nil {
		return err
	}
	writeBody(w, typeText+"; charset=utf-8", text.Bytes())
	return nil
}

// importModel takes a model as a .spex file, or as the JSON of an ImportModelRequest.
func (a *API) importModel(ctx context.Context, w http.ResponseWriter, r *http.Request, params map[string]string) error {
	first, err := readModel(r, params["spec"])
	if err != nil {
		return err
	}
	first.Namespace, first.Spec = params["namespace"], params["spec"]
	stream, err := a.models.ImportModel(ctx)
	if err != nil {
		return err
	}
	rest := first.Transitions
	for piece := first; piece == first || len(rest) > 0; piece = new(spexv1.ImportModelRequest) {
		n := min(len(rest), pieceTransitions)
		piece.Transitions, rest = rest[:n], rest[n:]
		if err := stream.Send(piece); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	return writeMessage(w, answer)
}

func readModel(r *http.Request, name string) (*spexv1.ImportModelRequest, error) {
	req := new(spexv1.ImportModelRequest)
	if contentType(r) == typeJSON {
		if _, err := queryKeys(r); err != nil {
			return nil, err
		}
		if err := (jsonLines{}).NewDecoder(r.Body).Decode(req); err != nil {
			return nil, invalid("%v", err)
		}
		return req, nil
	}
	values, err := queryKeys(r, "mode")
	if err != nil {
		return nil, err
	}
	if text := values.Get("mode"); text != "" {
		mode, ok := spexv1.ImportMode_value[text]
		if !ok {
			return nil, invalid("mode %q: give %s or %s", text, spexv1.ImportMode_IMPORT_MODE_MERGE, spexv1.ImportMode_IMPORT_MODE_REPLACE)
		}
		req.Mode = spexv1.ImportMode(mode)
	}
	f, err := model.Decode("body", r.Body)
	if err != nil {
		return nil, invalid("%v; for JSON, say Content-Type: %s", err, typeJSON)
	}
	if f.Spec != name {
		return nil, invalid("the file is a model of %q, and the path names %q: import it there", f.Spec, name)
	}
	req.Learning = f.Learning
	for _, t := range f.Transitions {
		req.Transitions = append(req.Transitions, &typesv1.Transition{From: t.From, Action: t.Action, To: t.To})
	}
	return req, nil
}

func writeMessage(w http.ResponseWriter, m proto.Message) error {
	body, err := jsonLines{}.Marshal(m)
	if err != nil {
		return err
	}
	writeBody(w, typeJSON, body)
	return nil
}

func writeBody(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body)
}
