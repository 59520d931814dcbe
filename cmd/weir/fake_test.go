package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/chaos/oracle"
	"github.com/weir-io/weir/clock"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

// A fakeNode answers like a node of weir, in the ways that are hard to bring a real one
// to. It counts the checks it got.
type fakeNode struct {
	weirv1.UnimplementedLimiterServer
	weirv1.UnimplementedAdminServer
	addr    string
	check   func(*weirv1.CheckRequest) (*weirv1.CheckResponse, error)
	apply   func(*weirv1.ApplyPoliciesRequest) (*weirv1.ApplyPoliciesResponse, error)
	member  []*weirv1.Member
	docs    []*weirv1.Document
	version uint64 // of policies, as ListMembers tells it
	checks  atomic.Int64
}

// startFake starts a fake node until the test ends. Its check allows everything.
func startFake(t *testing.T) *fakeNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeNode{addr: l.Addr().String(), check: func(*weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
		return &weirv1.CheckResponse{Allowed: true, Reason: weirv1.Reason_REASON_NO_POLICY}, nil
	}}
	s := grpc.NewServer()
	weirv1.RegisterLimiterServer(s, f)
	weirv1.RegisterAdminServer(s, f)
	healthv1.RegisterHealthServer(s, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Errorf("fake node: %v", err)
		}
	})
	return f
}

func (f *fakeNode) Check(_ context.Context, r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
	f.checks.Add(1)
	return f.check(r)
}

func (f *fakeNode) CheckBatch(_ context.Context, r *weirv1.CheckBatchRequest) (*weirv1.CheckBatchResponse, error) {
	answer := &weirv1.CheckBatchResponse{}
	for _, one := range r.GetRequests() {
		f.checks.Add(1)
		c, err := f.check(one)
		if err != nil {
			c = &weirv1.CheckResponse{Error: &weirv1.ItemError{Code: int32(status.Code(err)), Message: err.Error()}}
		}
		answer.Responses = append(answer.Responses, c)
	}
	return answer, nil
}

func (f *fakeNode) CheckStream(stream grpc.BidiStreamingServer[weirv1.CheckStreamRequest, weirv1.CheckStreamResponse]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			return nil
		}
		if err != nil {
			return err
		}
		batch, err := f.CheckBatch(stream.Context(), &weirv1.CheckBatchRequest{Requests: r.GetRequests()})
		if err != nil {
			return err
		}
		if err := stream.Send(&weirv1.CheckStreamResponse{Id: r.GetId(), Responses: batch.GetResponses()}); err != nil {
			return err
		}
	}
}

func (f *fakeNode) ApplyPolicies(_ context.Context, r *weirv1.ApplyPoliciesRequest) (*weirv1.ApplyPoliciesResponse, error) {
	return f.apply(r)
}

func (f *fakeNode) ListMembers(context.Context, *weirv1.ListMembersRequest) (*weirv1.ListMembersResponse, error) {
	r := &weirv1.ListMembersResponse{Members: f.member, ClusterId: "c", TableEpoch: 7, PolicyVersion: f.version}
	if len(f.member) > 0 {
		r.NodeId, r.Leader = f.member[0].GetNodeId(), f.member[0].GetNodeId()
	}
	return r, nil
}

func (f *fakeNode) GetPolicies(context.Context, *weirv1.GetPoliciesRequest) (*weirv1.GetPoliciesResponse, error) {
	return &weirv1.GetPoliciesResponse{Documents: f.docs, PolicyVersion: 3}, nil
}

// A demoLimiter decides what the demo asks, exactly or, with a second owner who knows
// nothing of the first, not.
type demoLimiter struct {
	clock  clock.Clock
	owners []*bucket.Store
	rng    atomic.Uint64
}

func newDemoLimiter(owners int) *demoLimiter {
	d := &demoLimiter{clock: clock.NewSystem()}
	for i := range owners {
		d.owners = append(d.owners, bucket.NewStore(bucket.Config{Memory: 16 << 20, Seed: uint64(i)}))
	}
	return d
}

// rule returns the rule of a stream: the same numbers that demo.yaml has.
func rule(d *demoStream) *bucket.Rule {
	algorithms := map[oracle.Algorithm]bucket.Algorithm{
		oracle.TokenBucket: bucket.TokenBucket, oracle.LeakyBucket: bucket.LeakyBucket, oracle.FixedWindow: bucket.FixedWindow,
		oracle.SlidingWindow: bucket.SlidingWindow, oracle.SlidingLog: bucket.SlidingLog, oracle.Concurrency: bucket.Concurrency,
	}
	l := bucket.Limit{Algorithm: algorithms[d.limit.Algorithm], Count: d.limit.Count, Period: d.limit.Period, Burst: d.limit.Burst, TTL: d.limit.TTL}
	if d.limit.Algorithm == oracle.LeakyBucket {
		l.MaxWait = -1
	}
	return &bucket.Rule{Limit: l, Hash: hashOf("rule", d.policy), Version: 1, FailMode: bucket.FailLocal}
}

func hashOf(parts ...string) bucket.Hash {
	h := sha256.New()
	for _, p := range parts {
		_, _ = io.WriteString(h, p+"\x00")
	}
	sum := h.Sum(nil)
	return bucket.Hash{Hi: binary.BigEndian.Uint64(sum), Lo: binary.BigEndian.Uint64(sum[8:])}
}

func (d *demoLimiter) check(r *weirv1.CheckRequest) (*weirv1.CheckResponse, error) {
	var user, path string
	for _, a := range r.GetAttributes() {
		switch a.GetKey() {
		case "user":
			user = a.GetValue()
		case "path":
			path = a.GetValue()
		}
	}
	owner := d.rng.Add(1) * 0x9e3779b97f4a7c15 >> 40 % uint64(len(d.owners))
	var charges []bucket.Charge
	var names []string
	for i := range demoStreams {
		s := &demoStreams[i]
		watches := s.shadowing == "api" && path == "/api/v1/items"
		if s.path == path || watches {
			charges = append(charges, bucket.Charge{Hash: hashOf("key", user), Rule: rule(s), Hits: 1, Shadow: watches})
			names = append(names, s.policy)
		}
	}
	statuses := make([]bucket.Status, len(charges))
	allowed := d.owners[owner].Take(d.clock.Now(), charges, statuses)
	answer := &weirv1.CheckResponse{Allowed: allowed, Reason: weirv1.Reason_REASON_LIMITED, Policy: names[0]}
	if allowed {
		answer.Reason = weirv1.Reason_REASON_OK
	}
	for i := 1; i < len(charges); i++ {
		answer.Others = append(answer.Others, &weirv1.LimitStatus{Policy: names[i], Allowed: statuses[i].Allowed, Mode: weirv1.Mode_MODE_SHADOW})
	}
	if charges[0].Rule.Limit.Algorithm == bucket.Concurrency && allowed {
		answer.Permit = binary.BigEndian.AppendUint64([]byte(user+"\x00"+string(rune(owner))), statuses[0].Receipt)
	}
	return answer, nil
}

func (d *demoLimiter) release(permit []byte) uint32 {
	name, receipt := permit[:len(permit)-8], binary.BigEndian.Uint64(permit[len(permit)-8:])
	user, owner := string(name[:len(name)-2]), int(name[len(name)-1])
	for i := range demoStreams {
		if s := &demoStreams[i]; s.hold > 0 {
			c := bucket.Charge{Hash: hashOf("key", user), Rule: rule(s), Hits: 1}
			return uint32(d.owners[owner].Release(d.clock.Now(), &c, receipt))
		}
	}
	return 0
}

// demoFront is a fake node that shares its limiter with others.
type demoFront struct {
	*fakeNode
	limiter *demoLimiter
}

func (f demoFront) Release(_ context.Context, r *weirv1.ReleaseRequest) (*weirv1.ReleaseResponse, error) {
	var n uint32
	for _, p := range r.GetPermits() {
		n += f.limiter.release(p)
	}
	return &weirv1.ReleaseResponse{Released: n}, nil
}

// demoServers starts fake nodes over one limiter and connects to them.
func demoServers(t *testing.T, n, owners int) []*grpc.ClientConn {
	t.Helper()
	limiter := newDemoLimiter(owners)
	var conns []*grpc.ClientConn
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		weirv1.RegisterLimiterServer(s, demoFront{&fakeNode{check: limiter.check}, limiter})
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		conn, err := dial(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = conn.Close()
			s.Stop()
			if err := <-served; err != nil {
				t.Errorf("fake node: %v", err)
			}
		})
		conns = append(conns, conn)
	}
	return conns
}
