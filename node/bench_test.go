package node_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/weir-io/weir/node/nodetest"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// rawCodec passes messages that are encoded already, and leaves answers alone: the client
// must not need the processor that the nodes are measured on.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(mem.BufferSlice, any) error { return nil }

// benchKeys returns requests for keys of a node's own and for those of others.
func benchKeys(b *testing.B, n *nodetest.Node) (own, others []*weirv1.CheckRequest) {
	b.Helper()
	for i := range 3000 {
		key := attributes("key", fmt.Sprintf("key-%d", i))
		r, err := n.Admin.InspectKey(b.Context(), &weirv1.InspectKeyRequest{Domain: "bench", Attributes: key})
		if err != nil {
			b.Fatal(err)
		}
		request := &weirv1.CheckRequest{Domain: "bench", Attributes: key}
		if r.GetBuckets()[0].GetOwner() == n.Config.NodeID {
			own = append(own, request)
		} else {
			others = append(others, request)
		}
	}
	return own, others
}

// BenchmarkApply applies 100,000 policies to one node, in documents of 5,000, each a
// call, then one more beside them; and one to a cluster of three that has no others,
// until all nodes have it.
func BenchmarkApply(b *testing.B) {
	const documents, each = 20, 5000
	number := 0
	document := func(domain string, policies int) string {
		number++ // another text each time: one that is in force already is no work
		text := strings.Builder{}
		fmt.Fprintf(&text, "domain: %s\npolicies:\n", domain)
		for i := range policies {
			fmt.Fprintf(&text, "  - {name: p%d, match: {client: c%d}, key: [user], group: g, limits: [{algorithm: token_bucket, rate: %d/s}]}\n", i, i, 100+number)
		}
		return text.String()
	}
	one := func(c *nodetest.Cluster) func(*testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				c.Apply(c.Nodes[number%len(c.Nodes)], document("one", 1))
			}
		}
	}
	c := nodetest.Start(b, 1)
	b.Run("100,000 policies", func(b *testing.B) {
		for b.Loop() {
			for d := range documents {
				b.StopTimer()
				text := document(fmt.Sprintf("shop%d", d), each)
				b.StartTimer()
				c.Apply(c.Nodes[0], text)
			}
		}
	})
	b.Run("one beside 100,000", one(c))
	b.Run("one at three nodes", one(nodetest.Start(b, 3)))
}

// BenchmarkForwarded asks one of three nodes, for keys of its own and for keys that it
// forwards, beside empty calls. Client and all nodes share the processors, and the
// allocations. one asks from a single goroutine, which is the latency.
func BenchmarkForwarded(b *testing.B) {
	c := nodetest.Start(b, 3)
	c.Apply(c.Nodes[0], "domain: bench\npolicies:\n  - {name: per-key, key: [key], limits: [{name: pace, algorithm: token_bucket, rate: 1_000_000_000/s}]}\n")
	n := c.Nodes[0]
	own, others := benchKeys(b, n)
	run := func(name, method string, calls, batch int, requests []*weirv1.CheckRequest) {
		messages := [][]byte{nil}
		if batch > 0 {
			messages = nil
			for i := range 256 {
				m := &weirv1.CheckBatchRequest{}
				for k := range batch {
					m.Requests = append(m.Requests, requests[(i*batch+k)%len(requests)])
				}
				var message proto.Message = m
				if batch == 1 {
					message = m.GetRequests()[0]
				}
				encoded, err := proto.Marshal(message)
				if err != nil {
					b.Fatal(err)
				}
				messages = append(messages, encoded)
			}
		}
		call := func(b *testing.B, i int) {
			var answer []byte
			if err := n.Conn.Invoke(b.Context(), method, messages[i%len(messages)], &answer, grpc.ForceCodecV2(rawCodec{})); err != nil {
				b.Error(err)
			}
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			if calls == 1 {
				for i := 0; b.Loop(); i++ {
					call(b, i)
				}
			} else {
				b.SetParallelism(calls)
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						call(b, i)
					}
				})
			}
			if batch > 0 {
				b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds(), "checks/s")
			}
		})
	}
	const empty, check, batch = "/grpc.health.v1.Health/Check", "/weir.v1.Limiter/Check", "/weir.v1.Limiter/CheckBatch"
	run("one/empty", empty, 1, 0, nil)
	run("one/local", check, 1, 1, own)
	run("one/forwarded", check, 1, 1, others)
	run("many/empty", empty, 32, 0, nil)
	run("many/local", check, 32, 1, own)
	run("many/forwarded", check, 32, 1, others)
	run("batch of 100/local", batch, 4, 100, own)
	run("batch of 100/forwarded", batch, 4, 100, others)
}
