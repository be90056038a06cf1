package api

import (
	"google.golang.org/grpc/codes"

	typesv1 "github.com/spexio/spex/proto/spex/types/v1"
)

// codeOf is the one place where the reasons of errors meet the codes of gRPC.
// Unavailable is kept for what another node or a later moment may answer, so
// that generic retry policies do the right thing; Aborted asks the caller to
// look at the state again before it goes on.
var codeOf = map[typesv1.Reason]codes.Code{
	typesv1.Reason_REASON_INVALID_ARGUMENT:                   codes.InvalidArgument,
	typesv1.Reason_REASON_LIMIT_EXCEEDED:                     codes.InvalidArgument,
	typesv1.Reason_REASON_RESERVED_NAME:                      codes.InvalidArgument,
	typesv1.Reason_REASON_SPECIFICATION_NOT_FOUND:            codes.NotFound,
	typesv1.Reason_REASON_IMPL_MODEL_NOT_FOUND:               codes.NotFound,
	typesv1.Reason_REASON_INSTANCE_IDENTIFIER_ALREADY_IN_USE: codes.AlreadyExists,
	typesv1.Reason_REASON_INSTANCE_IDENTIFIER_NOT_FOUND:      codes.NotFound,
	typesv1.Reason_REASON_SEQUENCE_MISMATCH:                  codes.Aborted,
	typesv1.Reason_REASON_REQUEST_ID_REUSED:                  codes.FailedPrecondition,
	typesv1.Reason_REASON_OUTCOME_UNKNOWN:                    codes.Aborted,
	typesv1.Reason_REASON_NOT_LEADER:                         codes.Unavailable,
	typesv1.Reason_REASON_NO_LEADER:                          codes.Unavailable,
	typesv1.Reason_REASON_QUEUE_FULL:                         codes.ResourceExhausted,
	typesv1.Reason_REASON_MODEL_LIMIT:                        codes.ResourceExhausted,
	typesv1.Reason_REASON_MODEL_MODE:                         codes.FailedPrecondition,
	typesv1.Reason_REASON_SEAL_ABORTED:                       codes.Aborted,
	typesv1.Reason_REASON_WRONG_CLUSTER:                      codes.FailedPrecondition,
	typesv1.Reason_REASON_WRONG_TARGET:                       codes.FailedPrecondition,
	typesv1.Reason_REASON_GROUP_HALTED:                       codes.Unavailable,
	typesv1.Reason_REASON_UNAVAILABLE:                        codes.Unavailable,
	typesv1.Reason_REASON_SPECIFICATION_NOT_INSTALLED:        codes.Unavailable,
	typesv1.Reason_REASON_FEATURE_LEVEL:                      codes.FailedPrecondition,
	typesv1.Reason_REASON_NODE_CONFLICT:                      codes.AlreadyExists,
	typesv1.Reason_REASON_DESERIALISATION_FAILED:             codes.InvalidArgument,
	typesv1.Reason_REASON_INTERNAL:                           codes.Internal,
	typesv1.Reason_REASON_UPLOAD_INCOMPLETE:                  codes.Aborted,
	typesv1.Reason_REASON_DEVIATION_NOT_FOUND:                codes.NotFound,
	typesv1.Reason_REASON_MODEL_NOT_EQUIVALENT:               codes.FailedPrecondition,
	typesv1.Reason_REASON_MODEL_CHANGED:                      codes.Aborted,
	typesv1.Reason_REASON_NODE_NOT_FOUND:                     codes.NotFound,
	typesv1.Reason_REASON_NODE_REMOVED:                       codes.FailedPrecondition,
	typesv1.Reason_REASON_PLACEMENT_CHANGED:                  codes.Aborted,
	typesv1.Reason_REASON_DISK_SPACE:                         codes.ResourceExhausted,
}

// CodeOf returns the gRPC code that errors with the reason travel under, and
// codes.Internal for a reason that this release does not know.
func CodeOf(reason typesv1.Reason) codes.Code {
	if c, ok := codeOf[reason]; ok {
		return c
	}
	return codes.Internal
}
