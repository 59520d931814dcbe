package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheck(t *testing.T) {
	d := open(t, shop)
	got, err := d.client.Check(t.Context(), request("shop", "client", "acme"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "first check", got, &weirv1.CheckResponse{
		Allowed: true, Reason: weirv1.Reason_REASON_OK, Policy: "per-client", LimitName: "pace", Algorithm: weirv1.Algorithm_ALGORITHM_TOKEN_BUCKET,
		Limit: 5, Remaining: 4, Reset_: 0.1, PolicyVersion: 7,
		Others: []*weirv1.LimitStatus{{
			Allowed: true, Policy: "per-client", LimitName: "day", Algorithm: weirv1.Algorithm_ALGORITHM_FIXED_WINDOW,
			Limit: 8, Remaining: 7, Reset_: 6400, Mode: weirv1.Mode_MODE_ENFORCE,
		}},
	})
	over := request("shop", "client", "acme")
	over.Hits = 1000
	if got, err = d.client.Check(t.Context(), over); err != nil || got.GetAllowed() || got.GetRetryAfter() != -1 || got.GetReason() != weirv1.Reason_REASON_LIMITED {
		t.Errorf("hits over the burst: %v, %v; want denied for ever, as an answer", got, err)
	}
	if got, err = d.client.Check(t.Context(), request("nowhere", "client", "acme")); err != nil {
		t.Fatal(err)
	}
	same(t, "unknown domain", got, &weirv1.CheckResponse{Allowed: true, Reason: weirv1.Reason_REASON_NO_POLICY, PolicyVersion: 7})
	if got, err = d.client.Check(t.Context(), request("shop", "client", "b", "canary", "1")); err != nil || len(got.GetOthers()) != 2 || got.GetOthers()[1].GetMode() != weirv1.Mode_MODE_SHADOW {
		t.Errorf("with a shadow: %v, %v; want it last of the others", got, err)
	}
}

func TestPermits(t *testing.T) {
	d := open(t, shop)
	take := func() *weirv1.CheckResponse {
		t.Helper()
		r, err := d.client.Check(t.Context(), request("shop", "job", "nightly"))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second, third := take(), take(), take()
	if len(first.GetPermit()) == 0 || len(first.GetPermit()) > 64 || string(first.GetPermit()) == string(second.GetPermit()) {
		t.Errorf("permits %x and %x: want two, at most 64 bytes each", first.GetPermit(), second.GetPermit())
	}
	if third.GetAllowed() || third.GetPermit() != nil {
		t.Errorf("third of two: %v", third)
	}
	released, err := d.client.Release(t.Context(), &weirv1.ReleaseRequest{Permits: [][]byte{first.GetPermit(), second.GetPermit(), first.GetPermit()}})
	if err != nil || released.GetReleased() != 2 {
		t.Errorf("Release: %v, %v; want 2", released, err)
	}
	if r := take(); !r.GetAllowed() {
		t.Errorf("after the release: %v", r)
	}
	_, err = d.client.Release(t.Context(), &weirv1.ReleaseRequest{Permits: [][]byte{[]byte("nonsense")}})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "permits[0]") {
		t.Errorf("Release of nonsense: %v", err)
	}
}

func TestReset(t *testing.T) {
	d := open(t, shop)
	for range 6 {
		if _, err := d.client.Check(t.Context(), request("shop", "client", "acme")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.client.Reset(t.Context(), &weirv1.ResetRequest{Domain: "shop", Attributes: request("", "client", "acme").Attributes})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "Reset", got, &weirv1.ResetResponse{Limits: []*weirv1.LimitName{{Policy: "per-client", LimitName: "pace"}, {Policy: "per-client", LimitName: "day"}}})
	if r, err := d.client.Check(t.Context(), request("shop", "client", "acme")); err != nil || r.GetRemaining() != 4 {
		t.Errorf("after the reset: %v, %v", r, err)
	}
	_, err = d.client.Reset(t.Context(), &weirv1.ResetRequest{Domain: "shop", Policy: "nope"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("Reset of a policy that is not there: %v, want NOT_FOUND", err)
	}
}

// Each bad request is refused, alone with a status and in a batch without harm to its
// neighbours.
func TestBadRequests(t *testing.T) {
	d := open(t, shop)
	many := request("shop")
	for i := range 33 {
		many.Attributes = append(many.Attributes, &weirv1.Attribute{Key: fmt.Sprint("a", i), Value: "1"})
	}
	tests := []struct {
		name    string
		request *weirv1.CheckRequest
		field   string
	}{
		{"no domain", request("", "client", "a"), "domain"},
		{"empty value", request("shop", "client", ""), "attributes[0].value"},
		{"oversized value", request("shop", "a", "1", "client", strings.Repeat("x", 2049)), "attributes[1].value"},
		{"invalid name", request("shop", "cli ent", "a"), "attributes[0].key"},
		{"repeated name", request("shop", "client", "a", "client", "b"), "attributes[1].key"},
		{"too many", many, "attributes"},
		{"invalid address", request("shop", "client_ip", "1.2.3"), "attributes[0].value"},
	}
	batch := &weirv1.CheckBatchRequest{}
	for _, tt := range tests {
		_, err := d.client.Check(t.Context(), tt.request)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), tt.field+": ") {
			t.Errorf("%s: %v, want INVALID_ARGUMENT of %s", tt.name, err, tt.field)
		}
		batch.Requests = append(batch.Requests, tt.request, request("shop", "client", tt.name))
	}
	got, err := d.client.CheckBatch(t.Context(), batch)
	if err != nil || len(got.GetResponses()) != len(batch.GetRequests()) {
		t.Fatalf("CheckBatch: %d responses, %v; want %d", len(got.GetResponses()), err, len(batch.GetRequests()))
	}
	for i, tt := range tests {
		bad, good := got.GetResponses()[2*i], got.GetResponses()[2*i+1]
		if e := bad.GetError(); e.GetCode() != int32(codes.InvalidArgument) || e.GetField() != tt.field || e.GetMessage() == "" || bad.GetAllowed() {
			t.Errorf("%s, in a batch: %v, want an error of %s", tt.name, bad, tt.field)
		}
		if !good.GetAllowed() || good.GetRemaining() != 4 || good.GetError() != nil {
			t.Errorf("neighbour of %s: %v", tt.name, good)
		}
	}
}

// A raw codec sends and receives messages as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = slices.Clone(data)
	return nil
}

// call sends bytes to a method.
func (d *doors) call(ctx context.Context, method string, in []byte) ([]byte, error) {
	var out []byte
	err := d.conn.Invoke(ctx, method, &in, &out, grpc.ForceCodec(rawCodec{}))
	return out, err
}

func TestValuesThatAreNoUTF8(t *testing.T) {
	d := open(t, shop)
	bad, err := proto.Marshal(request("shop", "client", "valid"))
	if err != nil {
		t.Fatal(err)
	}
	bad = []byte(strings.Replace(string(bad), "valid", "va\xffid", 1))
	_, err = d.call(t.Context(), weirv1.Limiter_Check_FullMethodName, bad)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "attributes[0].value") {
		t.Errorf("Check: %v, want INVALID_ARGUMENT of attributes[0].value", err)
	}
	good, err := proto.Marshal(request("shop", "client", "valid"))
	if err != nil {
		t.Fatal(err)
	}
	var in []byte
	for _, r := range [][]byte{bad, good} {
		in = append(append(in, 1<<3|2, byte(len(r))), r...)
	}
	out, err := d.call(t.Context(), weirv1.Limiter_CheckBatch_FullMethodName, in)
	if err != nil {
		t.Fatal(err)
	}
	var got weirv1.CheckBatchResponse
	if err := proto.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if e := got.GetResponses()[0].GetError(); e.GetField() != "attributes[0].value" {
		t.Errorf("the bad item: %v", got.GetResponses()[0])
	}
	if !got.GetResponses()[1].GetAllowed() {
		t.Errorf("its neighbour: %v", got.GetResponses()[1])
	}
}

func TestMessagesThatAreTooLarge(t *testing.T) {
	d := open(t, shop)
	items := func(n int) *weirv1.CheckBatchRequest {
		in := &weirv1.CheckBatchRequest{}
		for range n {
			in.Requests = append(in.Requests, request("shop", "a", "b"))
		}
		return in
	}
	if got, err := d.client.CheckBatch(t.Context(), items(10_000)); err != nil || len(got.GetResponses()) != 10_000 {
		t.Errorf("10,000 items: %d responses, %v", len(got.GetResponses()), err)
	}
	if _, err := d.client.CheckBatch(t.Context(), items(10_001)); status.Code(err) != codes.InvalidArgument {
		t.Errorf("10,001 items: %v, want INVALID_ARGUMENT", err)
	}
	big := make([]byte, 0, 1<<20+1)
	for len(big) < 1<<20+1 { // an unknown field of bytes, over and over
		big = append(big, 200, 1<<3|2>>4, 0)
	}
	big = big[:1<<20+1]
	for _, method := range []string{
		weirv1.Limiter_Check_FullMethodName, weirv1.Limiter_CheckBatch_FullMethodName,
		weirv1.Limiter_Reset_FullMethodName, weirv1.Limiter_Release_FullMethodName,
	} {
		if _, err := d.call(t.Context(), method, big); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("%s of a byte over 1 MiB: %v, want RESOURCE_EXHAUSTED", method, err)
		}
		if _, err := d.call(t.Context(), method, []byte{0xff}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s of nonsense: %v, want INVALID_ARGUMENT", method, err)
		}
	}
	text := &strings.Builder{} // of 3.5 MB
	text.WriteString("domain: shop\npolicies:\n")
	for i := range 60 {
		fmt.Fprintf(text, "  - name: p%d\n    match: {path: /v1/%d}\n    key: [client]\n", i, i)
		text.WriteString(strings.Repeat("    # a comment of no meaning but length\n", 1500))
		text.WriteString("    limits: [{algorithm: token_bucket, rate: 1/s}]\n")
	}
	in := &weirv1.ApplyPoliciesRequest{Documents: []*weirv1.Document{{Text: text.String()}}, DryRun: true}
	if _, err := d.admin.ApplyPolicies(t.Context(), in); err != nil {
		t.Errorf("a document of %d bytes: %v", text.Len(), err)
	}
	in.Documents = append(in.Documents, in.GetDocuments()[0])
	if _, err := d.admin.ApplyPolicies(t.Context(), in); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("two of them: %v, want RESOURCE_EXHAUSTED", err)
	}
}

func TestStarting(t *testing.T) {
	d := open(t, shop)
	why := errors.New("no table names this node")
	d.ready.Store(&why)
	for name, call := range map[string]func() error{
		"Check":      func() error { _, err := d.client.Check(t.Context(), request("nowhere")); return err },
		"CheckBatch": func() error { _, err := d.client.CheckBatch(t.Context(), &weirv1.CheckBatchRequest{}); return err },
		"Reset":      func() error { _, err := d.client.Reset(t.Context(), &weirv1.ResetRequest{Domain: "shop"}); return err },
	} {
		if err := call(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), why.Error()) {
			t.Errorf("%s: %v, want UNAVAILABLE with the reason", name, err)
		}
	}
	d.ready.Store(nil)
	if _, err := d.client.Check(t.Context(), request("nowhere")); err != nil {
		t.Errorf("ready: %v", err)
	}
	d.ready.Store(&why) // draining: what still comes is answered
	if _, err := d.client.Check(t.Context(), request("nowhere")); err != nil {
		t.Errorf("draining: %v", err)
	}
}

func TestDeadline(t *testing.T) {
	d := open(t, shop)
	hold := make(chan struct{})
	d.local.hold.Store(&hold)
	began := time.Now()
	_, err := d.client.Check(t.Context(), request("shop", "client", "acme"))
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("%v, want DEADLINE_EXCEEDED", err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %v: the check timeout is 500ms", took)
	}
}

func TestHealthAndReflection(t *testing.T) {
	d := open(t, shop)
	why := errors.New("draining")
	d.ready.Store(&why)
	health := healthv1.NewHealthClient(d.conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch, err := health.Watch(ctx, &healthv1.HealthCheckRequest{Service: "weir.v1.Limiter"})
	if err != nil {
		t.Fatal(err)
	}
	await := func(want healthv1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for {
			got, err := watch.Recv()
			if err != nil {
				t.Fatalf("waiting for %v: %v", want, err)
			}
			if got.GetStatus() == want {
				return
			}
		}
	}
	await(healthv1.HealthCheckResponse_NOT_SERVING)
	d.ready.Store(nil)
	await(healthv1.HealthCheckResponse_SERVING)

	stream, err := reflectionv1.NewServerReflectionClient(d.conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(r *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	list := ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
	var names []string
	for _, s := range list.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	for _, want := range []string{"weir.v1.Limiter", "weir.v1.Admin", "grpc.health.v1.Health"} {
		if !slices.Contains(names, want) {
			t.Errorf("reflection lists %v, want %s among them", names, want)
		}
	}
	file := ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "weir.v1.Limiter"}})
	if len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("reflection does not describe weir.v1.Limiter: %v", file)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

func TestStream(t *testing.T) {
	d := open(t, shop)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := d.client.CheckStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const batches = 200
	sent := make(chan error, 1)
	go func() {
		for id := range uint64(batches) {
			in := &weirv1.CheckStreamRequest{Id: id, Requests: []*weirv1.CheckRequest{
				request("shop", "client", fmt.Sprint("c", id)), request("", "client", "a"), request("nowhere"),
			}}
			if id == 7 {
				in.Requests = make([]*weirv1.CheckRequest, 10_001)
			}
			if err := stream.Send(in); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	seen := map[uint64]bool{}
	for {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if seen[got.GetId()] {
			t.Errorf("two answers to %d", got.GetId())
		}
		seen[got.GetId()] = true
		if got.GetId() == 7 {
			if got.GetError().GetCode() != int32(codes.InvalidArgument) || len(got.GetResponses()) != 0 {
				t.Errorf("10,001 items: %v, want an error in place of responses", got.GetError())
			}
			continue
		}
		r := got.GetResponses()
		if len(r) != 3 || !r[0].GetAllowed() || r[0].GetRemaining() != 4 || r[1].GetError().GetField() != "domain" || r[2].GetReason() != weirv1.Reason_REASON_NO_POLICY {
			t.Fatalf("batch %d: %v", got.GetId(), got)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if len(seen) != batches {
		t.Errorf("%d answers to %d batches", len(seen), batches)
	}
}

// A batch that waits for its owner holds up neither those behind it nor, when the node
// leaves, its own answer.
func TestStreamOvertakesAndIsSentOn(t *testing.T) {
	d := open(t, shop)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := d.client.CheckStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	d.local.hold.Store(&hold)
	send := func(id uint64, domain string) {
		t.Helper()
		if err := stream.Send(&weirv1.CheckStreamRequest{Id: id, Requests: []*weirv1.CheckRequest{request(domain, "client", "a")}}); err != nil {
			t.Fatal(err)
		}
	}
	send(1, "shop")
	send(2, "nowhere") // asks no bucket
	if got, err := stream.Recv(); err != nil || got.GetId() != 2 {
		t.Fatalf("first answer: %v, %v; want that of 2", got, err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- d.grpc.Shutdown(ctx) }()
	// The stream ends by itself, but not before 1 is answered. No new call gets in once
	// the door has begun to close.
	eventually(t, "the door closes", func() bool {
		_, err := weirv1.NewLimiterClient(dial(t, d.addr)).Check(ctx, request("nowhere"))
		return err != nil
	})
	close(hold)
	if got, err := stream.Recv(); err != nil || got.GetId() != 1 || !got.GetResponses()[0].GetAllowed() {
		t.Errorf("second answer: %v, %v; want that of 1", got, err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v, want UNAVAILABLE: go on at another", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// A call that never ends does not keep the door open for ever.
func TestShutdownIsBounded(t *testing.T) {
	d := open(t, shop)
	hold := make(chan struct{})
	d.local.hold.Store(&hold)
	failed := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := d.client.CheckStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&weirv1.CheckStreamRequest{Id: 1, Requests: []*weirv1.CheckRequest{request("shop", "client", "a")}}); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := d.client.Check(ctx, request("shop", "client", "b"))
		failed <- err
	}()
	now, stop := context.WithCancel(t.Context())
	stop()
	began := time.Now()
	_ = d.grpc.Shutdown(now) // whether both calls had come in by now is not known
	if took := time.Since(began); took > patience/2 {
		t.Errorf("Shutdown took %v", took)
	}
	if err := <-failed; err == nil {
		t.Error("a call that was cut short has an answer")
	}
	if _, err := stream.Recv(); err == nil {
		t.Error("a batch that was cut short has an answer")
	}
}

// eventually waits until done returns true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(patience)
	defer late.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("waited %v until %s", patience, what)
		}
	}
}
