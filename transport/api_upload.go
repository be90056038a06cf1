package transport

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/spexio/spex/api"
	"github.com/spexio/spex/fsm"
	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
	"github.com/spexio/spex/spec"
)

// ChunkBytes is about how much one message of a download carries, and what
// clients should put into one message of an upload.
const ChunkBytes = 256 << 10

// ApplySpecification gathers the pieces of a specification, checks it and
// hands it to the backend.
func (s *apiServer) ApplySpecification(stream grpc.ClientStreamingServer[spexv1.ApplySpecificationRequest, spexv1.ApplySpecificationResponse]) error {
	namespace, data, err := receiveSpecification(stream)
	if err != nil {
		return err
	}
	m := new(typesv1.Specification)
	if err := proto.Unmarshal(data, m); err != nil {
		return fsm.Errorf(typesv1.Reason_REASON_DESERIALISATION_FAILED,
			"data is not an encoded spex.types.v1.Specification: %v; send its pieces in order and all of them", err)
	}
	parsed, err := spec.FromProto(m)
	if err != nil {
		return api.Refusal(err)
	}
	response, err := s.backend.ApplySpecification(stream.Context(), namespace, parsed.Proto())
	if err != nil {
		return err
	}
	return stream.SendAndClose(response)
}

// receiveSpecification gathers the pieces, and refuses as soon as they are too
// many, so that a caller cannot fill the memory.
func receiveSpecification(stream grpc.ClientStreamingServer[spexv1.ApplySpecificationRequest, spexv1.ApplySpecificationResponse]) (namespace string, data []byte, err error) {
	for n := 0; ; n++ {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", nil, err
		}
		if n == 0 {
			namespace = piece.GetNamespace()
			if err := api.CheckNamespace(&namespace); err != nil {
				return "", nil, err
			}
		} else if piece.GetNamespace() != "" {
			return "", nil, api.Malformed("namespace", "is set after the first message", "set it in the first message only")
		}
		if len(data)+len(piece.GetData()) > api.MaxUploadBytes {
			return "", nil, api.OverLimit("data", fmt.Sprintf("is more than %d bytes in all, which is the limit", api.MaxUploadBytes),
				fmt.Sprintf("a specification has at most %d transitions", spec.MaxTransitions))
		}
		data = append(data, piece.GetData()...)
	}
	if len(data) == 0 {
		return "", nil, fsm.Errorf(typesv1.Reason_REASON_UPLOAD_INCOMPLETE,
			"data is empty; send an encoded spex.types.v1.Specification in one or more messages before closing the stream")
	}
	return namespace, data, nil
}

// ImportModel gathers transitions and hands them to the backend.
func (s *apiServer) ImportModel(stream grpc.ClientStreamingServer[spexv1.ImportModelRequest, spexv1.ImportModelResponse]) error {
	var first *spexv1.ImportModelRequest
	var transitions []*typesv1.Transition
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if first == nil {
			first = piece
			if err := api.CheckNamed(&first.Namespace, "spec", first.Spec); err != nil {
				return err
			}
			if mode := first.Mode; mode < spexv1.ImportMode_IMPORT_MODE_UNSPECIFIED || mode > spexv1.ImportMode_IMPORT_MODE_REPLACE {
				return api.Malformed("mode", fmt.Sprintf("has the unknown value %d", mode), "use MERGE (1) or REPLACE (2)")
			}
		} else if piece.GetNamespace() != "" || piece.GetSpec() != "" || piece.GetLearning() || piece.GetMode() != 0 {
			return api.Malformed("namespace, spec, learning or mode", "is set after the first message", "set them in the first message only")
		}
		if err := api.CheckImportSize(len(transitions) + len(piece.GetTransitions())); err != nil {
			return err
		}
		for _, t := range piece.GetTransitions() {
			if err := api.CheckModelTransition(len(transitions), t); err != nil {
				return err
			}
			transitions = append(transitions, t)
		}
	}
	if first == nil {
		return fsm.Errorf(typesv1.Reason_REASON_UPLOAD_INCOMPLETE,
			"nothing was sent; name the specification in the first message before closing the stream")
	}
	take := s.backend.ImportModel
	if first.Mode == spexv1.ImportMode_IMPORT_MODE_REPLACE {
		take = s.backend.ReplaceModel
	}
	response, err := take(stream.Context(), first.Namespace, first.Spec, first.Learning, transitions)
	if err != nil {
		return err
	}
	return stream.SendAndClose(response)
}
