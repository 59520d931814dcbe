package api

import (
	"slices"
	"sync"

	"google.golang.org/grpc/mem"

	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
)

// Bounds of messages, in bytes.
const (
	maxLimiterMessage = 1 << 20 // received by Limiter
	maxAdminMessage   = 5 << 20 // received by Admin
	maxAnswer         = 8 << 20 // sent
)

// A message is one kind of frame.
type message uint8

// The kinds of frames.
const (
	checkMessage message = iota
	batchMessage
	streamMessage
)

// A frame is a message of checks and all the memory it takes to answer it. The
// strings of its requests are views of in: they live until the frame is released.
type frame struct {
	kind       message
	in         []byte             // the message as it came
	attributes []policy.Attribute // of all requests
	batch      limiter.Batch
	id         uint64         // of a stream's batch
	err        *limiter.Error // why the message as a whole was refused
	out        *[]byte        // the answer, from answers
}

var frames = sync.Pool{New: func() any { return new(frame) }}

func newFrame(kind message) *frame {
	f := frames.Get().(*frame)
	f.kind = kind
	return f
}

// maxAttributesKept is how many attributes a frame in the pool has memory for.
const maxAttributesKept = 1 << 16

// release puts the frame back into the pool. Nothing of it may be used any more.
func (f *frame) release() {
	f.batch.Reset()
	if f.attributes = f.attributes[:0]; cap(f.attributes) > maxAttributesKept {
		f.attributes = nil
	}
	f.id, f.err, f.out = 0, nil, nil
	frames.Put(f)
}

// read takes a message over from gRPC: copied once, then walked. What is wrong with it
// goes to f.err, since an error of a codec always becomes INTERNAL.
func (f *frame) read(data mem.BufferSlice) {
	n := data.Len()
	if n > maxLimiterMessage {
		f.err = tooLarge(n)
		return
	}
	f.in = slices.Grow(f.in[:0], n)[:n]
	data.CopyTo(f.in)
	f.err = f.decode()
}

// answers pools the buffers of answers.
var answers answerPool

// An answerPool is a pool of buffers that grow while an answer is appended to them,
// which gRPC gives back when the answer is on its way.
type answerPool struct{ pool sync.Pool }

var _ mem.BufferPool = (*answerPool)(nil)

// Buffers smaller than minAnswerBuffer gRPC does not give back; larger ones than
// maxAnswerBuffer are not kept.
const (
	minAnswerBuffer = 2 << 10
	maxAnswerBuffer = 2 << 20
)

// Get returns a buffer of a length.
func (p *answerPool) Get(length int) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	*b = slices.Grow((*b)[:0], max(length, minAnswerBuffer))[:length]
	return b
}

// Put takes a buffer back.
func (p *answerPool) Put(b *[]byte) {
	if cap(*b) <= maxAnswerBuffer {
		p.pool.Put(b)
	}
}
