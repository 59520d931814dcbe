package api

import (
	"strings"
	"testing"

	"github.com/weir-io/weir/limiter"
)

// An answer that is too large to be sent is not made whole first: ten thousand verdicts
// may have many limits each.
func TestAnswersAreBounded(t *testing.T) {
	for _, kind := range []message{batchMessage, streamMessage} {
		f := newFrame(kind)
		v := limiter.Verdict{Deciding: -1, Err: &limiter.Error{Code: limiter.Internal, Message: strings.Repeat("x", 8<<10)}}
		for range limiter.MaxItems { // 80 MiB
			f.batch.Verdicts = append(f.batch.Verdicts, v)
		}
		if n := len(f.appendAnswer(nil)); n > maxAnswer+16<<10 {
			t.Errorf("kind %d: %d bytes were made of an answer of at most %d", kind, n, maxAnswer)
		}
		if err := f.encode(); err == nil || err.Code != codeTooLarge {
			t.Errorf("kind %d: %v, want that the answer is too large", kind, err)
		}
	}
}
