package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

const (
	emptyMethod  = "/grpc.health.v1.Health/Check"
	checkMethod  = "/weir.v1.Limiter/Check"
	batchMethod  = "/weir.v1.Limiter/CheckBatch"
	streamMethod = "/weir.v1.Limiter/CheckStream"
	benchTimeout = 10 * time.Second
	// readEvery is one answer in how many is decoded, to know what was measured.
	readEvery = 64
	// encoded is how many different messages are made in advance, at most.
	encoded = 20_000
)

// rawCodec passes messages that are encoded already, and leaves answers encoded: the
// generator must not need the processor that the server is measured on.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

// Name is that of the codec it stands in for.
func (rawCodec) Name() string { return "proto" }

// Marshal takes a []byte.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("raw codec: %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal fills a *[]byte, whose memory it uses again.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("raw codec: %T", v)
	}
	n := data.Len()
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	*b = (*b)[:n]
	data.CopyTo(*b)
	return nil
}

// attributes returns those of a key.
func (c *benchCmd) attributes(key int) []*weirv1.Attribute {
	return []*weirv1.Attribute{{Key: c.Attribute, Value: "key-" + strconv.Itoa(key)}}
}

// encode makes the requests, one message each, with keys at random.
func (c *benchCmd) encode(keys []int) [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	messages := make([][]byte, max(1, min(encoded, 4_000_000/c.Batch/64, 4*len(keys))))
	for i := range messages {
		requests := make([]*weirv1.CheckRequest, c.Batch)
		for k := range requests {
			requests[k] = &weirv1.CheckRequest{Domain: c.Domain, Attributes: c.attributes(keys[rng.IntN(len(keys))])}
		}
		var m proto.Message = requests[0]
		switch c.Mode {
		case "batch":
			m = &weirv1.CheckBatchRequest{Requests: requests}
		case "stream":
			m = &weirv1.CheckStreamRequest{Id: uint64(i), Requests: requests}
		}
		b, err := proto.Marshal(m)
		if err != nil {
			panic(fmt.Sprintf("encode a check: %v", err)) // only text that is not UTF-8 can fail, and flags are that
		}
		messages[i] = b
	}
	return messages
}

// A caller makes one worker's calls one after the other; close ends what it holds open.
type caller struct {
	call  func() error
	close func()
}

// A dialler makes a caller on a connection.
type dialler func(ctx context.Context, conn *grpc.ClientConn, worker int, m *measured) (caller, error)

// emptyCall makes a caller of empty calls.
func emptyCall(ctx context.Context, conn *grpc.ClientConn, _ int, _ *measured) (caller, error) {
	var answer []byte
	return caller{close: func() {}, call: func() error {
		ctx, cancel := context.WithTimeout(ctx, benchTimeout)
		defer cancel()
		return conn.Invoke(ctx, emptyMethod, []byte(nil), &answer, grpc.ForceCodecV2(rawCodec{}))
	}}, nil
}

// check returns a dialler of callers that check.
func (c *benchCmd) check(messages [][]byte) dialler {
	return func(ctx context.Context, conn *grpc.ClientConn, worker int, m *measured) (caller, error) {
		var answer []byte
		next := worker * len(messages) / c.Concurrency
		message := func() []byte {
			next = (next + 1) % len(messages)
			return messages[next]
		}
		if c.Mode != "stream" {
			method := checkMethod
			if c.Mode == "batch" {
				method = batchMethod
			}
			return caller{close: func() {}, call: func() error {
				ctx, cancel := context.WithTimeout(ctx, benchTimeout)
				defer cancel()
				if err := conn.Invoke(ctx, method, message(), &answer, grpc.ForceCodecV2(rawCodec{})); err != nil {
					return err
				}
				return m.read(c.Mode, answer)
			}}, nil
		}
		ctx, cancel := context.WithCancel(ctx)
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, streamMethod, grpc.ForceCodecV2(rawCodec{}))
		if err != nil {
			cancel()
			return caller{}, err
		}
		return caller{close: cancel, call: func() error {
			if err := stream.SendMsg(message()); err != nil {
				return errors.Join(err, stream.RecvMsg(&answer)) // where sending fails, receiving knows why
			}
			if err := stream.RecvMsg(&answer); err != nil {
				return err
			}
			return m.read(c.Mode, answer)
		}}, nil
	}
}

// A verdicts is what the answers said that were read.
type verdicts struct {
	Read     int64 `json:"read"`
	Allowed  int64 `json:"allowed"`
	Denied   int64 `json:"denied"`
	NoPolicy int64 `json:"no_policy"`
	Degraded int64 `json:"degraded"`
	Errors   int64 `json:"errors"`
}

// measured is what calls of one kind took.
type measured struct {
	hist     *hdrhistogram.Histogram // in ns
	took     time.Duration           // of all runs
	calls    int64
	verdicts verdicts
}

func newMeasured() *measured {
	return &measured{hist: hdrhistogram.New(int64(time.Microsecond), int64(time.Minute), 3)}
}

func (m *measured) merge(o *measured) {
	m.hist.Merge(o.hist)
	m.calls += o.calls
	m.verdicts.Read += o.verdicts.Read
	m.verdicts.Allowed += o.verdicts.Allowed
	m.verdicts.Denied += o.verdicts.Denied
	m.verdicts.NoPolicy += o.verdicts.NoPolicy
	m.verdicts.Degraded += o.verdicts.Degraded
	m.verdicts.Errors += o.verdicts.Errors
}

// read decodes one answer in a while.
func (m *measured) read(mode string, answer []byte) error {
	if m.calls%readEvery != 0 {
		return nil
	}
	var responses []*weirv1.CheckResponse
	var err error
	switch mode {
	case "unary":
		var r weirv1.CheckResponse
		err = proto.Unmarshal(answer, &r)
		responses = append(responses, &r)
	case "batch":
		var r weirv1.CheckBatchResponse
		err = proto.Unmarshal(answer, &r)
		responses = r.GetResponses()
	case "stream":
		var r weirv1.CheckStreamResponse
		err = proto.Unmarshal(answer, &r)
		responses = r.GetResponses()
		if e := r.GetError(); err == nil && e != nil {
			err = errors.New(e.GetMessage())
		}
	}
	if err != nil {
		return fmt.Errorf("read an answer: %w", err)
	}
	v := &m.verdicts
	for _, r := range responses {
		v.Read++
		switch {
		case r.GetError() != nil:
			v.Errors++
		case !r.GetAllowed():
			v.Denied++
		case r.GetReason() == weirv1.Reason_REASON_NO_POLICY:
			v.NoPolicy++
		default:
			v.Allowed++
		}
		if r.GetDegraded() {
			v.Degraded++
		}
	}
	return nil
}

func (m *measured) figure() benchFigure {
	at := func(q float64) float64 { return float64(m.hist.ValueAtQuantile(q)) / 1e9 }
	f := benchFigure{Calls: m.calls, P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(m.hist.Max()) / 1e9}
	if m.took > 0 {
		f.CallRate = float64(m.calls) / m.took.Seconds()
	}
	return f
}

// run makes calls of one kind for a while and adds them to m.
func (c *benchCmd) run(ctx context.Context, conns []*grpc.ClientConn, d time.Duration, m *measured, open dialler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	began := time.Now()
	for worker := range c.Concurrency {
		wg.Go(func() {
			own := newMeasured()
			err := c.work(ctx, conns[worker%len(conns)], worker, began, d, own, open)
			mu.Lock()
			defer mu.Unlock()
			m.merge(own)
			if err != nil && first == nil {
				first = err
				cancel()
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if c.Rate > 0 {
		took = max(took, d) // the last call was due before the end, and nothing more was
	}
	m.took += took
	return first
}

// ringsLate is by how much a timer of an idle process may ring late: poll waits whole
// milliseconds. That is no server's latency.
const ringsLate = 1500 * time.Microsecond

// work makes one worker's calls. With a rate, each is due at its time: the worker's share
// of a schedule that all workers keep together.
func (c *benchCmd) work(ctx context.Context, conn *grpc.ClientConn, worker int, began time.Time, d time.Duration, m *measured, open dialler) error {
	caller, err := open(ctx, conn, worker, m)
	if err != nil {
		return err
	}
	defer caller.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := int64(worker); ; n += int64(c.Concurrency) {
		due := time.Now()
		if c.Rate > 0 {
			due = began.Add(time.Duration(n) * time.Second / time.Duration(c.Rate))
		}
		if due.Sub(began) >= d {
			return nil
		}
		if c.Rate > 0 {
			early := time.Until(due)
			timer.Reset(early)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			if now := time.Now(); early > 0 && now.Sub(due) < ringsLate {
				due = now
			}
		}
		if err := caller.call(); err != nil {
			return err
		}
		m.calls++
		if err := m.hist.RecordValue(max(int64(time.Since(due)), 1)); err != nil {
			return fmt.Errorf("a call took %v: %w", time.Since(due), err)
		}
	}
}
