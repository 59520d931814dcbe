package limiter_test

import (
	"fmt"
	"runtime"
	"testing"
	"weak"

	"github.com/weir-io/weir/limiter"
)

// A batch in a pool must not hold on to what one that was far too large needed.
func TestResetFreesWhatALargeBatchNeeded(t *testing.T) {
	w := newWorld(t, shop)
	b := &limiter.Batch{}
	for i := range 40_000 { // of two limits each
		b.Requests = append(b.Requests, request("shop", "client", fmt.Sprint(i%7)))
	}
	w.Check(t.Context(), b)
	limit := weak.Make(&b.Verdicts[0].Limits[0])
	b.Reset()
	runtime.GC()
	if limit.Value() != nil {
		t.Error("the limits of the verdicts are held by the batch that was reset")
	}
	b.Requests = append(b.Requests, request("shop", "client", "new"))
	if w.Check(t.Context(), b); len(b.Verdicts) != 1 || !b.Verdicts[0].Allowed {
		t.Errorf("%+v: the batch is of no use after it was reset", b.Verdicts)
	}
}
