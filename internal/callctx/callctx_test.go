package callctx

import (
	"context"
	"testing"
)

func TestEmptyContextSaysNothing(t *testing.T) {
	if p := Principal(context.Background()); p != "" {
		t.Errorf("principal of an empty context: %q", p)
	}
	if tr := TraceFrom(context.Background()); tr != (Trace{}) {
		t.Errorf("trace of an empty context: %+v", tr)
	}
}

func TestValuesDoNotDisturbEachOther(t *testing.T) {
	want := Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=b"}
	ctx := WithTrace(WithPrincipal(context.Background(), "alice"), want)
	if p := Principal(ctx); p != "alice" {
		t.Errorf("principal: %q", p)
	}
	if tr := TraceFrom(ctx); tr != want {
		t.Errorf("trace: %+v", tr)
	}
	if p := Principal(WithPrincipal(ctx, "bob")); p != "bob" {
		t.Errorf("the inner principal does not win: %q", p)
	}
}
