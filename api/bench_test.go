package api_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// encodedCodec passes messages that are encoded already, and leaves answers alone: the client
// must not need the processor that the server is measured on.
type encodedCodec struct{}

var _ encoding.CodecV2 = encodedCodec{}

func (encodedCodec) Name() string { return "proto" }

func (encodedCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (encodedCodec) Unmarshal(mem.BufferSlice, any) error { return nil }

const benchPolicies = `domain: bench
policies:
  - {name: per-key, key: [key], limits: [{name: pace, algorithm: token_bucket, rate: 1_000_000_000/s}]}
`

// benchKeys is how many keys the checks are of.
const benchKeys = 10_000

// messages returns encoded requests of n checks each; a CheckRequest where n is 0.
func messages(b *testing.B, n int) [][]byte {
	b.Helper()
	all := make([][]byte, 512)
	for i := range all {
		batch := &weirv1.CheckBatchRequest{}
		for k := range max(n, 1) {
			batch.Requests = append(batch.Requests, request("bench", "key", fmt.Sprintf("key-%d", (i*7919+k*104729)%benchKeys)))
		}
		var m proto.Message = batch
		if n == 0 {
			m = batch.GetRequests()[0]
		}
		var err error
		if all[i], err = proto.Marshal(m); err != nil {
			b.Fatal(err)
		}
	}
	return all
}

// BenchmarkGRPC makes calls from several goroutines over one connection: empty ones, to
// compare with, checks and batches of checks. Client and server share the processors, and
// the allocations.
func BenchmarkGRPC(b *testing.B) {
	d := open(b, benchPolicies)
	const empty, check, batch = "/grpc.health.v1.Health/Check", "/weir.v1.Limiter/Check", "/weir.v1.Limiter/CheckBatch"
	for _, kind := range []struct {
		name, method string
		calls        int // at a time, for each processor
		messages     [][]byte
		checks       int // a call
	}{
		{"empty", empty, 32, [][]byte{nil}, 0},
		{"check", check, 32, messages(b, 0), 1},
		{"batch of 100", batch, 4, messages(b, 100), 100},
		{"batch of 1000", batch, 4, messages(b, 1000), 1000},
	} {
		b.Run(kind.name, func(b *testing.B) {
			b.SetParallelism(kind.calls)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var answer []byte
				for i := 0; pb.Next(); i++ {
					if err := d.conn.Invoke(b.Context(), kind.method, kind.messages[i%len(kind.messages)], &answer, grpc.ForceCodecV2(encodedCodec{})); err != nil {
						b.Error(err)
						return
					}
				}
			})
			if kind.checks > 0 {
				b.ReportMetric(float64(kind.checks*b.N)/b.Elapsed().Seconds(), "checks/s")
			}
		})
	}
}
