package api_test

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/weir-io/weir/api"
	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster"
	"github.com/weir-io/weir/limiter"
	"github.com/weir-io/weir/policy"
	"github.com/weir-io/weir/policystore"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

// patience bounds every wait; a test that runs into it has failed.
const patience = 20 * time.Second

// A local decides everything in one store, as the node of a cluster of one does. Its
// clock stands still unless a test moves it.
type local struct {
	store *bucket.Store
	now   atomic.Int64
	hold  atomic.Pointer[chan struct{}] // where set, decisions wait until it is closed
}

func (l *local) Now() int64 { return l.now.Load() }

func (l *local) Decide(ctx context.Context, b *cluster.Batch) {
	if hold := l.hold.Load(); hold != nil {
		select {
		case <-*hold:
		case <-ctx.Done():
			for i := range b.Items {
				b.Items[i].Err = ctx.Err()
			}
			return
		}
	}
	for i := range b.Items {
		it := &b.Items[i]
		charges, statuses := b.Charges[it.First:it.End], b.Statuses[it.First:it.End]
		if it.Peek {
			it.Allowed = l.store.Peek(l.Now(), charges, statuses)
		} else {
			it.Allowed = l.store.Take(l.Now(), charges, statuses)
		}
	}
}

func (l *local) Reset(_ context.Context, charges []bucket.Charge) error {
	for i := range charges {
		l.store.Reset(l.Now(), &charges[i])
	}
	return nil
}

func (l *local) Release(_ context.Context, permits []cluster.Permit) (int, error) {
	var n int64
	for _, p := range permits {
		n += l.store.Release(l.Now(), &bucket.Charge{Hash: p.Hash, Rule: &bucket.Rule{Hash: p.Limit}}, p.Receipt)
	}
	return int(n), nil
}

// A log keeps policies without a cluster: what policystore does, in one place. Its
// errors are those of policystore.
type log struct {
	snapshot atomic.Pointer[policy.Snapshot]
	docs     atomic.Pointer[[]*policy.Document]
	refuse   atomic.Pointer[error] // where set, Apply fails with it
}

func (l *log) Policies() *policy.Snapshot    { return l.snapshot.Load() }
func (l *log) Documents() []*policy.Document { return *l.docs.Load() }
func (l *log) ClusterID() string             { return "c1" }
func (l *log) Leader() (id, addr string)     { return "n1", "127.0.0.1:1" }
func (l *log) Servers() ([]ring.Server, error) {
	return []ring.Server{{ID: "n1", Voter: true}, {ID: "n2"}}, nil
}

func (l *log) Plan(c *weirv1.ChangePolicies) ([]policy.PlanEntry, []string, error) {
	if c.IfVersion != nil && c.GetIfVersion() != l.Policies().Version {
		return nil, nil, policystore.ErrStale
	}
	var plan []policy.PlanEntry
	for _, in := range c.GetDocuments() {
		d, err := policy.Parse(in.GetFile(), []byte(in.GetText()))
		if err != nil {
			return nil, nil, err
		}
		if in.GetDomain() != "" && in.GetDomain() != d.Domain {
			return nil, nil, policy.Problems{{Path: "domain", Message: "is of another domain"}}
		}
		var old *policy.Document
		for _, o := range l.Documents() {
			if o.Domain == d.Domain {
				old = o
			}
		}
		plan = append(plan, policy.Diff(old, d)...)
	}
	return plan, []string{"mind the gap"}, nil
}

func (l *log) Apply(ctx context.Context, c *weirv1.ChangePolicies) (*weirv1.CommandResult, error) {
	if err := l.refuse.Load(); err != nil {
		return nil, *err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	version := l.Policies().Version + 1
	docs := append([]*policy.Document(nil), l.Documents()...)
	for _, in := range c.GetDocuments() {
		d, err := policy.Parse(in.GetFile(), []byte(in.GetText()))
		if err != nil {
			return nil, err
		}
		d.Version = version
		docs = append(docs, d)
	}
	snapshot, _, err := policy.Compile(nil, docs, version, policy.Secret{1})
	if err != nil {
		return &weirv1.CommandResult{Refused: err.Error(), Code: 3}, nil
	}
	l.docs.Store(&docs)
	l.snapshot.Store(snapshot)
	return &weirv1.CommandResult{PolicyVersion: version}, nil
}

const shop = `domain: shop
policies:
  - name: per-client
    key: [client]
    limits:
      - {name: pace, algorithm: token_bucket, rate: 10/s, burst: 5}
      - {name: day, algorithm: fixed_window, rate: 8/day}
  - name: canary
    match: {canary: "*"}
    key: [client]
    mode: shadow
    limits:
      - {name: tight, algorithm: fixed_window, rate: 1/day}
  - name: held
    match: {job: "*"}
    key: [job]
    limits:
      - {name: running, algorithm: concurrency, permits: 2, ttl: 60s}
`

const start = int64(1_700_000_000) * int64(time.Second)

// doors is both doors of one node, open on loopback.
type doors struct {
	local *local
	log   *log
	ready atomic.Pointer[error] // nil = ready
	grpc  *api.GRPC
	http  *api.HTTP

	limiter *limiter.Limiter
	addr    string // of gRPC
	url     string // of HTTP
	conn    *grpc.ClientConn
	client  weirv1.LimiterClient
	admin   weirv1.AdminClient
}

func open(t testing.TB, documents ...string) *doors {
	t.Helper()
	d := &doors{local: &local{store: bucket.NewStore(bucket.Config{Memory: 256 << 20})}, log: &log{}}
	d.local.now.Store(start)
	var docs []*policy.Document
	for _, text := range documents {
		doc, err := policy.Parse("test.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		doc.Version = 7
		docs = append(docs, doc)
	}
	snapshot, _, err := policy.Compile(nil, docs, 7, policy.Secret{1})
	if err != nil {
		t.Fatal(err)
	}
	d.log.snapshot.Store(snapshot)
	d.log.docs.Store(&docs)
	registry := prometheus.NewRegistry()
	table := &ring.Table{Epoch: 3, Members: []ring.Member{{ID: "n1", Boot: 1, State: ring.Up, GRPCAddr: "127.0.0.1:1"}}}
	for i := range table.Rows {
		table.Rows[i] = ring.Row{Replica: ring.None, Target: ring.None, State: ring.Steady, Since: 3}
	}
	tableOf := func() *ring.Table { return table }
	d.limiter = limiter.New(limiter.Config{
		Policies: d.log.Policies, Decider: d.local, Keys: d.local, CheckTimeout: 500 * time.Millisecond, Clock: d.local, Metrics: registry,
		Table: tableOf, Self: "n1",
	})
	admin := api.NewAdmin(api.AdminConfig{NodeID: "n1", Limiter: d.limiter, Policies: d.log, Log: d.log, Snapshot: d.log.Policies, Table: tableOf})
	ready := func() error {
		if err := d.ready.Load(); err != nil {
			return *err
		}
		return nil
	}
	d.grpc = api.NewGRPC(api.GRPCConfig{Limiter: d.limiter, Admin: admin, Ready: ready})
	d.http = api.NewHTTP(api.HTTPConfig{Limiter: d.limiter, Admin: admin, Ready: ready, Metrics: registry, Insecure: true})
	d.addr = serve(t, d.grpc.Serve, d.grpc.Shutdown)
	d.url = "http://" + serve(t, d.http.Serve, d.http.Shutdown)
	t.Cleanup(http.DefaultClient.CloseIdleConnections) // runs first: HTTP waits for its connections
	d.conn = dial(t, d.addr)
	d.client, d.admin = weirv1.NewLimiterClient(d.conn), weirv1.NewAdminClient(d.conn)
	return d
}

// serve opens a door on a free port until the test ends, and returns its address.
func serve(t testing.TB, serve func(net.Listener) error, shutdown func(context.Context) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func dial(t testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(8<<20)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func request(domain string, pairs ...string) *weirv1.CheckRequest {
	r := &weirv1.CheckRequest{Domain: domain}
	for i := 0; i < len(pairs); i += 2 {
		r.Attributes = append(r.Attributes, &weirv1.Attribute{Key: pairs[i], Value: pairs[i+1]})
	}
	return r
}

// same reports messages that differ.
func same(t testing.TB, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}
