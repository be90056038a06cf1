package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
	spexv1 "github.com/spexio/spex/proto/spex/v1"
)

const (
	// pieceBytes is the payload of one message of an upload, below the 64 KiB that a command may have.
	pieceBytes = 48 << 10
	// maxDownloadBytes bounds what is taken from the server for one specification or model.
	maxDownloadBytes = 64 << 20
)

// errDownloadTooLarge refuses a server that never stops sending.
var errDownloadTooLarge = fmt.Errorf("client: the answer is larger than %d bytes", maxDownloadBytes)

// ApplySpecification makes a specification known, or a new version of it when it
// changed. Calls of Init by this client see it, whichever node they reach.
func (c *Client) ApplySpecification(ctx context.Context, spec *typesv1.Specification) (*spexv1.ApplySpecificationResponse, error) {
	if proto.Size(spec) == 0 {
		return nil, &Error{Code: codes.InvalidArgument, Reason: typesv1.Reason_REASON_INVALID_ARGUMENT, NotApplied: true, Message: "specification is missing"}
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("client: encode specification: %w", err)
	}
	cl := call{name: "ApplySpecification", write: true, unbounded: true}
	var resp *spexv1.ApplySpecificationResponse
	err = c.do(ctx, cl, func(ctx context.Context, ep *endpoint) (bool, error) {
		stream, err := spexv1.NewSpecificationServiceClient(ep.conn).ApplySpecification(ctx)
		if err != nil {
			return false, err
		}
		first := &spexv1.ApplySpecificationRequest{Namespace: c.opts.Namespace, Data: data[:min(len(data), pieceBytes)]}
		rest := data[len(first.Data):]
		resp, err = upload(stream, first, func() *spexv1.ApplySpecificationRequest {
			if len(rest) == 0 {
				return nil
			}
			piece := rest[:min(len(rest), pieceBytes)]
			rest = rest[len(piece):]
			return &spexv1.ApplySpecificationRequest{Data: piece}
		})
		return true, err
	})
	if err != nil {
		return nil, err
	}
	c.sawCatalog(resp.GetCatalogIndex())
	return resp, nil
}

// upload sends first and what next yields until nil, then takes the answer.
func upload[Req, Resp any](stream grpc.ClientStreamingClient[Req, Resp], first *Req, next func() *Req) (*Resp, error) {
	for msg := first; msg != nil; msg = next() {
		if err := stream.Send(msg); err != nil {
			if errors.Is(err, io.EOF) {
				// The server answered early; why is in the answer.
				break
			}
			return nil, err
		}
	}
	return stream.CloseAndRecv()
}

// download hands every message of an answer to add.
func download[Resp any](stream grpc.ServerStreamingClient[Resp], add func(*Resp) error) error {
	for {
		msg, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := add(msg); err != nil {
			return err
		}
	}
}

// GetSpecification reads a specification and its version; version 0 asks for the newest.
func (c *Client) GetSpecification(ctx context.Context, name string, version uint64) (*typesv1.Specification, uint64, error) {
	req := &spexv1.GetSpecificationRequest{Namespace: c.opts.Namespace, Name: name, Version: version}
	var data []byte
	var got uint64
	err := c.do(ctx, call{name: "GetSpecification"}, func(ctx context.Context, ep *endpoint) (bool, error) {
		data, got = nil, 0
		// A download that is broken off is ended by its context.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := spexv1.NewSpecificationServiceClient(ep.conn).GetSpecification(ctx, req)
		if err != nil {
			return false, err
		}
		return true, download(stream, func(m *spexv1.GetSpecificationResponse) error {
			if m.GetVersion() != 0 {
				got = m.GetVersion()
			}
			if len(data)+len(m.GetData()) > maxDownloadBytes {
				return errDownloadTooLarge
			}
			data = append(data, m.GetData()...)
			return nil
		})
	})
	if err != nil {
		return nil, 0, err
	}
	spec := &typesv1.Specification{}
	if err := proto.Unmarshal(data, spec); err != nil {
		return nil, 0, fmt.Errorf("client: decode specification %q: %w", name, err)
	}
	return spec, got, nil
}

// ListSpecifications lists the newest version of every specification, with its model.
func (c *Client) ListSpecifications(ctx context.Context) (*spexv1.ListSpecificationsResponse, error) {
	req := &spexv1.ListSpecificationsRequest{Namespace: c.opts.Namespace}
	return unary(ctx, c, call{name: "ListSpecifications"}, req, func(ep *endpoint) rpc[spexv1.ListSpecificationsRequest, spexv1.ListSpecificationsResponse] {
		return spexv1.NewSpecificationServiceClient(ep.conn).ListSpecifications
	})
}

// DeleteSpecification deletes a specification with all its versions. When an
// attempt whose outcome is not known is followed by SPECIFICATION_NOT_FOUND, the
// specification is gone as asked and the response is empty.
func (c *Client) DeleteSpecification(ctx context.Context, name string) (*spexv1.DeleteSpecificationResponse, error) {
	req := &spexv1.DeleteSpecificationRequest{Namespace: c.opts.Namespace, Name: name}
	cl := call{name: "DeleteSpecification", write: true}
	resp, err := unary(ctx, c, cl, req, func(ep *endpoint) rpc[spexv1.DeleteSpecificationRequest, spexv1.DeleteSpecificationResponse] {
		return spexv1.NewSpecificationServiceClient(ep.conn).DeleteSpecification
	})
	var e *Error
	if errors.As(err, &e) && e.Reason == typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND && e.Attempts > 1 && !e.NotApplied {
		return &spexv1.DeleteSpecificationResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	c.sawCatalog(resp.GetCatalogIndex())
	return resp, nil
}

// ListModels lists the implementation models.
func (c *Client) ListModels(ctx context.Context) (*spexv1.ListModelsResponse, error) {
	req := &spexv1.ListModelsRequest{Namespace: c.opts.Namespace}
	return unary(ctx, c, call{name: "ListModels"}, req, func(ep *endpoint) rpc[spexv1.ListModelsRequest, spexv1.ListModelsResponse] {
		return spexv1.NewModelServiceClient(ep.conn).ListModels
	})
}

// GetModel reads the model of a specification, its transitions sorted;
// specVersion 0 asks for the newest.
func (c *Client) GetModel(ctx context.Context, spec string, specVersion uint64) (*spexv1.ModelInfo, []*typesv1.Transition, error) {
	req := &spexv1.GetModelRequest{Namespace: c.opts.Namespace, Spec: spec, SpecVersion: specVersion}
	var info *spexv1.ModelInfo
	var transitions []*typesv1.Transition
	err := c.do(ctx, call{name: "GetModel"}, func(ctx context.Context, ep *endpoint) (bool, error) {
		info, transitions = nil, nil
		size := 0
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := spexv1.NewModelServiceClient(ep.conn).GetModel(ctx, req)
		if err != nil {
			return false, err
		}
		return true, download(stream, func(m *spexv1.GetModelResponse) error {
			if m.GetInfo() != nil {
				info = m.GetInfo()
			}
			if size += proto.Size(m); size > maxDownloadBytes {
				return errDownloadTooLarge
			}
			transitions = append(transitions, m.GetTransitions()...)
			return nil
		})
	})
	return info, transitions, err
}

// ImportModel adds transitions to the model of the newest version of a
// specification, and says whether the model is learning afterwards.
func (c *Client) ImportModel(ctx context.Context, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error) {
	return c.importModel(ctx, "ImportModel", spexv1.ImportMode_IMPORT_MODE_MERGE, spec, learning, transitions)
}

func (c *Client) importModel(ctx context.Context, name string, mode spexv1.ImportMode, spec string, learning bool, transitions []*typesv1.Transition) (*spexv1.ImportModelResponse, error) {
	cl := call{name: name, write: true, unbounded: true}
	var resp *spexv1.ImportModelResponse
	err := c.do(ctx, cl, func(ctx context.Context, ep *endpoint) (bool, error) {
		stream, err := spexv1.NewModelServiceClient(ep.conn).ImportModel(ctx)
		if err != nil {
			return false, err
		}
		piece, rest := cut(transitions)
		first := &spexv1.ImportModelRequest{Namespace: c.opts.Namespace, Spec: spec, Learning: learning, Mode: mode, Transitions: piece}
		resp, err = upload(stream, first, func() *spexv1.ImportModelRequest {
			if len(rest) == 0 {
				return nil
			}
			piece, rest = cut(rest)
			return &spexv1.ImportModelRequest{Transitions: piece}
		})
		return true, err
	})
	if err != nil {
		return nil, err
	}
	c.sawCatalog(resp.GetCatalogIndex())
	return resp, nil
}

// cut splits off as many transitions as fit into one message, at least one.
func cut(ts []*typesv1.Transition) (piece, rest []*typesv1.Transition) {
	size := 0
	for i, t := range ts {
		if size += proto.Size(t) + 4; size > pieceBytes && i > 0 {
			return ts[:i], ts[i:]
		}
	}
	return ts, nil
}

// SealModel ends the learning of a model. It answers when every shard works
// with the sealed model, which may take a while: give it a deadline.
func (c *Client) SealModel(ctx context.Context, spec string) (*spexv1.SealModelResponse, error) {
	req := &spexv1.SealModelRequest{Namespace: c.opts.Namespace, Spec: spec}
	cl := call{name: "SealModel", write: true, unbounded: true}
	resp, err := unary(ctx, c, cl, req, func(ep *endpoint) rpc[spexv1.SealModelRequest, spexv1.SealModelResponse] {
		return spexv1.NewModelServiceClient(ep.conn).SealModel
	})
	if err != nil {
		return nil, err
	}
	c.sawCatalog(resp.GetCatalogIndex())
	return resp, nil
}

// LearnModel begins the learning of a model again.
func (c *Client) LearnModel(ctx context.Context, spec string) (*spexv1.LearnModelResponse, error) {
	req := &spexv1.LearnModelRequest{Namespace: c.opts.Namespace, Spec: spec}
	cl := call{name: "LearnModel", write: true, unbounded: true}
	resp, err := unary(ctx, c, cl, req, func(ep *endpoint) rpc[spexv1.LearnModelRequest, spexv1.LearnModelResponse] {
		return spexv1.NewModelServiceClient(ep.conn).LearnModel
	})
	if err != nil {
		return nil, err
	}
	c.sawCatalog(resp.GetCatalogIndex())
	return resp, nil
}

// Deviations reads the distinct deviating transitions of a specification, or of
// all with an empty name: at most limit, and for 0 the server's default of 1,000.
// Shards that did not answer are in the response's failures.
func (c *Client) Deviations(ctx context.Context, spec string, limit int) (*spexv1.ListDeviationsResponse, error) {
	req := &spexv1.ListDeviationsRequest{
		Namespace: c.opts.Namespace, Spec: spec,
		Consistency: spexv1.Consistency_CONSISTENCY_LINEARIZABLE, Limit: uint32(max(0, limit)),
	}
	return unary(ctx, c, call{name: "ListDeviations"}, req, func(ep *endpoint) rpc[spexv1.ListDeviationsRequest, spexv1.ListDeviationsResponse] {
		return spexv1.NewModelServiceClient(ep.conn).ListDeviations
	})
}
