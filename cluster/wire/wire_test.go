package wire_test

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/weir-io/weir/bucket"
	"github.com/weir-io/weir/cluster/wire"
	weirv1 "github.com/weir-io/weir/proto/weir/v1"
)

func mustLoad(t testing.TB, zone string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(zone)
	if err != nil {
		t.Skipf("%v: install the tzdata package, or set ZONEINFO", err)
	}
	return l
}

// someRules are limits of every algorithm.
func someRules(t testing.TB) []*bucket.Rule {
	return []*bucket.Rule{
		{Limit: bucket.Limit{Algorithm: bucket.TokenBucket, Count: 100, Period: time.Second, Burst: 200}, Hash: bucket.Hash{Hi: 1, Lo: 2}, Version: 7, FailMode: bucket.FailLocal},
		{Limit: bucket.Limit{Algorithm: bucket.LeakyBucket, Count: 1, Period: time.Minute, Burst: 3, MaxWait: -1}, Hash: bucket.Hash{Hi: 3}, FailMode: bucket.FailOpen},
		{Limit: bucket.Limit{Algorithm: bucket.LeakyBucket, Count: 1, Period: time.Minute, Burst: 3, MaxWait: 0}, Hash: bucket.Hash{Hi: 4}, FailMode: bucket.FailClosed},
		{Limit: bucket.Limit{Algorithm: bucket.FixedWindow, Count: 10, Calendar: bucket.Month, Zone: mustLoad(t, "Europe/Berlin")}, Version: math.MaxUint64, FailMode: bucket.FailLocal},
		{Limit: bucket.Limit{Algorithm: bucket.SlidingWindow, Count: 0, Period: time.Hour}, Hash: bucket.Hash{Lo: math.MaxUint64}, FailMode: bucket.FailLocal},
		{Limit: bucket.Limit{Algorithm: bucket.SlidingLog, Count: bucket.MaxHeld, Period: time.Millisecond}, FailMode: bucket.FailLocal},
		{Limit: bucket.Limit{Algorithm: bucket.Concurrency, Count: 5, TTL: time.Minute}, FailMode: bucket.FailLocal},
	}
}

func sameRule(a, b *bucket.Rule) bool {
	zone := func(l *bucket.Limit) string {
		if l.Zone == nil {
			return ""
		}
		return l.Zone.String()
	}
	x, y := a.Limit, b.Limit
	if zone(&x) != zone(&y) {
		return false
	}
	x.Zone, y.Zone = nil, nil
	return x == y && a.Hash == b.Hash && a.Version == b.Version && a.FailMode == b.FailMode
}

type item struct {
	kind    wire.Kind
	right   bool
	hop     time.Duration
	charges []bucket.Charge
	receipt []uint64
}

func drawItems(t *rapid.T, rules []*bucket.Rule) []item {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) item {
		it := item{
			kind:  wire.Kind(rapid.IntRange(int(wire.Take), int(wire.Release)).Draw(t, "kind")),
			right: rapid.Bool().Draw(t, "right"),
			hop:   time.Duration(rapid.IntRange(0, 1000).Draw(t, "hop")) * time.Microsecond,
		}
		for range rapid.IntRange(1, 4).Draw(t, "charges") {
			it.charges = append(it.charges, bucket.Charge{
				Hash:   bucket.Hash{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")},
				Rule:   rules[rapid.IntRange(0, len(rules)-1).Draw(t, "rule")],
				Hits:   int64(rapid.Uint32().Draw(t, "hits")),
				Shadow: rapid.Bool().Draw(t, "shadow"),
			})
			it.receipt = append(it.receipt, rapid.Uint64().Draw(t, "receipt"))
		}
		return it
	}), 0, 8).Draw(t, "items")
}

// Frames that were written are read as they were, by this package and by the generated
// code.
func TestFramesAreReadAsWritten(t *testing.T) {
	rules := someRules(t)
	var enc wire.Encoder
	var known wire.Rules
	rapid.Check(t, func(t *rapid.T) {
		items := drawItems(t, rules)
		head := wire.Header{
			Number: rapid.Uint64().Draw(t, "number"), Done: rapid.Uint64().Draw(t, "done"), Epoch: rapid.Uint64().Draw(t, "epoch"),
			Hop: time.Duration(rapid.IntRange(1001, 1e6).Draw(t, "hop")) * time.Microsecond, Sent: time.Duration(rapid.IntRange(0, 1e9).Draw(t, "sent")) * time.Microsecond,
			SenderID: rapid.SampledFrom([]string{"", "n1"}).Draw(t, "id"),
		}
		if head.SenderID != "" {
			head.SenderBoot = rapid.Uint64().Draw(t, "boot")
		}
		enc.Begin()
		for _, it := range items {
			enc.Add(it.kind, it.right, it.hop, it.charges, it.receipt)
		}
		b := enc.Append(nil, &head)

		var f wire.Frame
		if err := f.Read(b, &known); err != nil {
			t.Fatal(err)
		}
		if f.Header != head || len(f.Items) != len(items) {
			t.Fatalf("read %+v with %d items, wrote %+v with %d", f.Header, len(f.Items), head, len(items))
		}
		var generated weirv1.FramesRequest
		if err := proto.Unmarshal(b, &generated); err != nil {
			t.Fatalf("the generated code reads: %v", err)
		}
		if !bytes.Equal(mustMarshal(t, &generated), mustMarshal(t, generatedFrame(t, &f, &head))) {
			t.Errorf("the generated code reads %v", &generated)
		}
		for i, it := range items {
			got := f.Items[i]
			wantHop := it.hop
			if wantHop == 0 {
				wantHop = head.Hop
			}
			if got.Kind != it.kind || got.OnYourRight != it.right || got.Hop != wantHop {
				t.Errorf("item %d: read %+v, wrote %+v", i, got, it)
			}
			charges := f.Charges[got.First:got.End]
			if !slices.Equal(f.Receipts[got.First:got.End], it.receipt) || len(charges) != len(it.charges) {
				t.Fatalf("item %d: read %v %v, wrote %v", i, charges, f.Receipts[got.First:got.End], it)
			}
			for j, c := range charges {
				want := it.charges[j]
				if c.Hash != want.Hash || c.Hits != want.Hits || c.Shadow != want.Shadow || !sameRule(c.Rule, want.Rule) {
					t.Errorf("charge %d.%d: read %+v of %+v, wrote %+v of %+v", i, j, c, c.Rule, want, want.Rule)
				}
			}
		}
	})
}

func mustMarshal(t interface{ Fatal(...any) }, m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// generatedFrame is a frame as the generated code has it, but for the order of its limits,
// which is that of their first use.
func generatedFrame(t *rapid.T, f *wire.Frame, head *wire.Header) *weirv1.FramesRequest {
	g := &weirv1.FramesRequest{
		Number: head.Number, Epoch: head.Epoch, HopMicros: uint64(head.Hop.Microseconds()), SentMicros: uint64(head.Sent.Microseconds()), Done: head.Done,
	}
	if head.SenderID != "" {
		g.Sender = &weirv1.NodeBoot{NodeId: head.SenderID, Boot: head.SenderBoot}
	}
	places := map[*bucket.Rule]uint32{}
	for _, it := range f.Items {
		gi := &weirv1.Item{Kind: weirv1.Item_Kind(it.Kind), OnYourRight: it.OnYourRight}
		if it.Hop != head.Hop {
			gi.HopMicros = uint64(it.Hop.Microseconds())
		}
		for c := it.First; c < it.End; c++ {
			charge := f.Charges[c]
			place, ok := places[charge.Rule]
			if !ok {
				place = uint32(len(places))
				places[charge.Rule] = place
				l := &charge.Rule.Limit
				n := &weirv1.LimitNumbers{
					Algorithm: weirv1.Algorithm(l.Algorithm), Count: uint64(l.Count), PeriodNanos: uint64(l.Period), Burst: uint64(l.Burst),
					MaxWaitNanosPlusOne: uint64(l.MaxWait + 1), TtlNanos: uint64(l.TTL), Calendar: uint32(l.Calendar),
					HashHi: charge.Rule.Hash.Hi, HashLo: charge.Rule.Hash.Lo, Version: charge.Rule.Version, FailMode: uint32(charge.Rule.FailMode),
				}
				if l.Zone != nil {
					n.Zone = l.Zone.String()
				}
				g.Limits = append(g.Limits, n)
			}
			gi.Charges = append(gi.Charges, &weirv1.ItemCharge{
				HashHi: charge.Hash.Hi, HashLo: charge.Hash.Lo, Limit: place, Hits: uint32(charge.Hits), Shadow: charge.Shadow, Receipt: f.Receipts[c],
			})
		}
		g.Items = append(g.Items, gi)
	}
	return g
}

func drawStatus(t *rapid.T) bucket.Status {
	micros := func(name string) time.Duration {
		return time.Duration(rapid.Int64Range(0, math.MaxInt64/1000-1).Draw(t, name)) * time.Microsecond
	}
	s := bucket.Status{
		Allowed: rapid.Bool().Draw(t, "allowed"), Degraded: bucket.Degraded(rapid.IntRange(0, int(bucket.Memory)).Draw(t, "degraded")),
		Limit: rapid.Int64Min(0).Draw(t, "limit"), Remaining: rapid.Int64Min(0).Draw(t, "remaining"),
		Reset: micros("reset"), RetryAfter: micros("retry"), Wait: micros("wait"), Receipt: rapid.Uint64().Draw(t, "receipt"),
	}
	if rapid.Bool().Draw(t, "never") {
		s.RetryAfter = bucket.Never
	}
	return s
}

func TestAnswersAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number, epoch := rapid.Uint64().Draw(t, "number"), rapid.Uint64().Draw(t, "epoch")
		b := wire.AppendPart(nil, number, epoch)
		var answers []wire.Answer
		for range rapid.IntRange(0, 6).Draw(t, "answers") {
			a := wire.Answer{
				Place: rapid.Uint32().Draw(t, "place"), Outcome: wire.Outcome(rapid.IntRange(int(wire.Decided), int(wire.Stale)).Draw(t, "outcome")),
				Owner: rapid.SampledFrom([]string{"", "n1"}).Draw(t, "owner"), Allowed: rapid.Bool().Draw(t, "ok"), Released: rapid.Uint64().Draw(t, "released"),
			}
			for range rapid.IntRange(0, 3).Draw(t, "statuses") {
				a.Statuses = append(a.Statuses, drawStatus(t))
			}
			answers = append(answers, a)
			b = wire.AppendAnswer(b, &a)
		}
		var generated weirv1.FramesResponse
		if err := proto.Unmarshal(b, &generated); err != nil {
			t.Fatalf("the generated code reads: %v", err)
		}
		if generated.GetNumber() != number || generated.GetEpoch() != epoch || len(generated.GetItems()) != len(answers) {
			t.Fatalf("the generated code reads %v", &generated)
		}
		if len(generated.ProtoReflect().GetUnknown()) > 0 {
			t.Fatal("there are fields that the generated code does not know")
		}
		part, err := wire.ReadPart(b)
		if err != nil || part.Number != number || part.Epoch != epoch {
			t.Fatalf("part %d at %d, %v; wrote %d at %d", part.Number, part.Epoch, err, number, epoch)
		}
		for i, want := range answers {
			var got wire.Answer
			if ok, err := part.Next(&got); err != nil || !ok {
				t.Fatalf("answer %d: %t, %v", i, ok, err)
			}
			if got.Place != want.Place || got.Outcome != want.Outcome || got.Owner != want.Owner || got.Allowed != want.Allowed || got.Released != want.Released {
				t.Errorf("answer %d: read %+v, wrote %+v", i, got, want)
			}
			statuses := make([]bucket.Status, len(want.Statuses))
			if err := got.ReadStatuses(statuses); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(statuses, want.Statuses) {
				t.Errorf("answer %d: read %+v, wrote %+v", i, statuses, want.Statuses)
			}
			if err := got.ReadStatuses(make([]bucket.Status, len(want.Statuses)+1)); err == nil {
				t.Errorf("answer %d has %d statuses, but one more was read", i, len(want.Statuses))
			}
			g := generated.GetItems()[i]
			for j, s := range want.Statuses {
				c := g.GetCharges()[j]
				if c.GetRemaining() != uint64(s.Remaining) || c.GetReceipt() != s.Receipt || uint8(c.GetDegradedReason()) != uint8(s.Degraded) || c.GetWaitMicros() != uint64(s.Wait.Microseconds()) {
					t.Errorf("the generated code reads %v, wrote %+v", c, s)
				}
			}
		}
		if ok, err := part.Next(&wire.Answer{}); ok || err != nil {
			t.Errorf("one answer more: %t, %v", ok, err)
		}
	})
}

// What cannot be decided by is refused as a whole.
func TestFramesThatAreRefused(t *testing.T) {
	good := func() *weirv1.FramesRequest {
		return &weirv1.FramesRequest{
			Limits: []*weirv1.LimitNumbers{{Algorithm: 1, Count: 1, PeriodNanos: 1e9, Burst: 1, FailMode: 1}},
			Items:  []*weirv1.Item{{Kind: weirv1.Item_KIND_TAKE, Charges: []*weirv1.ItemCharge{{Hits: 1}}}},
		}
	}
	tests := []struct {
		name string
		set  func(*weirv1.FramesRequest)
	}{
		{"no algorithm", func(f *weirv1.FramesRequest) { f.Limits[0].Algorithm = 0 }},
		{"unknown algorithm", func(f *weirv1.FramesRequest) { f.Limits[0].Algorithm = 99 }},
		{"algorithm that is another modulo 256", func(f *weirv1.FramesRequest) { f.Limits[0].Algorithm = 257 }},
		{"no period", func(f *weirv1.FramesRequest) { f.Limits[0].PeriodNanos = 0 }},
		{"negative count", func(f *weirv1.FramesRequest) { f.Limits[0].Count = math.MaxUint64 }},
		{"unknown fail mode", func(f *weirv1.FramesRequest) { f.Limits[0].FailMode = 9 }},
		{"unknown zone", func(f *weirv1.FramesRequest) { f.Limits[0].Zone = "Atlantis/Capital" }},
		{"zone that is a path", func(f *weirv1.FramesRequest) { f.Limits[0].Zone = "../../etc/passwd" }},
		{"no limit", func(f *weirv1.FramesRequest) { f.Limits = nil }},
		{"limit that is not there", func(f *weirv1.FramesRequest) { f.Items[0].Charges[0].Limit = 1 }},
		{"no kind", func(f *weirv1.FramesRequest) { f.Items[0].Kind = 0 }},
		{"unknown kind", func(f *weirv1.FramesRequest) { f.Items[0].Kind = 77 }},
		{"no charges", func(f *weirv1.FramesRequest) { f.Items[0].Charges = nil }},
		{"too many charges", func(f *weirv1.FramesRequest) {
			for range wire.MaxCharges {
				f.Items[0].Charges = append(f.Items[0].Charges, f.Items[0].Charges[0])
			}
		}},
		{"too many limits", func(f *weirv1.FramesRequest) {
			for range wire.MaxLimits {
				f.Limits = append(f.Limits, f.Limits[0])
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := good()
			var read wire.Frame
			if err := read.Read(mustMarshal(t, f), &wire.Rules{}); err != nil {
				t.Fatalf("before: %v", err)
			}
			tt.set(f)
			if err := read.Read(mustMarshal(t, f), &wire.Rules{}); err == nil {
				t.Error("it was taken")
			}
		})
	}
	var read wire.Frame
	if err := read.Read(make([]byte, wire.MaxBytes+1), &wire.Rules{}); err == nil {
		t.Error("a frame of too many bytes was taken")
	}
}

// Whatever comes is read or refused, and what was read is written and read again alike.
func FuzzFrame(f *testing.F) {
	var enc wire.Encoder
	enc.Begin()
	for _, r := range someRules(f) {
		enc.Add(wire.Take, false, 0, []bucket.Charge{{Hash: bucket.Hash{Hi: 1, Lo: 2}, Rule: r, Hits: 3, Shadow: true}}, nil)
	}
	f.Add(enc.Append(nil, &wire.Header{Number: 1, Epoch: 2, Done: 3, Hop: time.Second, Sent: time.Minute, SenderID: "n1", SenderBoot: 4}))
	f.Add([]byte{})
	f.Add([]byte{0x32, 0x7f, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second wire.Frame
		if err := first.Read(b, &wire.Rules{}); err != nil {
			return
		}
		enc.Begin()
		for _, it := range first.Items {
			enc.Add(it.Kind, it.OnYourRight, it.Hop, first.Charges[it.First:it.End], first.Receipts[it.First:it.End])
		}
		h := first.Header
		if h.SenderID == "" {
			h.SenderBoot = 0
		}
		again := enc.Append(nil, &h)
		if len(again) > wire.MaxBytes {
			return
		}
		if err := second.Read(again, &wire.Rules{}); err != nil {
			t.Fatalf("read again: %v", err)
		}
		if second.Header != h || len(second.Charges) != len(first.Charges) || !slices.Equal(second.Items, first.Items) {
			t.Errorf("read again: %+v, first %+v", second, first)
		}
	})
}

// Whatever comes as an answer is read or refused.
func FuzzAnswer(f *testing.F) {
	b := wire.AppendPart(nil, 1, 2)
	f.Add(wire.AppendAnswer(b, &wire.Answer{Place: 1, Outcome: wire.Decided, Allowed: true, Statuses: []bucket.Status{{Limit: 3, RetryAfter: bucket.Never}}}))
	f.Add([]byte{0x1a, 0x02, 0x10, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		part, err := wire.ReadPart(b)
		if err != nil {
			return
		}
		var a wire.Answer
		for {
			ok, err := part.Next(&a)
			if err != nil || !ok {
				return
			}
			var statuses [2]bucket.Status
			_ = a.ReadStatuses(statuses[:]) // an error is an answer too
			if statuses[0].Limit < 0 || statuses[0].Remaining < 0 || statuses[0].Reset < 0 || statuses[0].Wait < 0 {
				t.Errorf("negative numbers: %+v", statuses[0])
			}
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	rule := &bucket.Rule{Limit: bucket.Limit{Algorithm: bucket.TokenBucket, Count: 100, Period: time.Second, Burst: 200}, FailMode: bucket.FailLocal}
	charge := []bucket.Charge{{Hash: bucket.Hash{Hi: 1 << 60, Lo: 1 << 50}, Rule: rule, Hits: 1}}
	const items = 64
	var enc wire.Encoder
	var f wire.Frame
	var rules wire.Rules
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		enc.Begin()
		for range items {
			enc.Add(wire.Take, false, 0, charge, nil)
		}
		buf = enc.Append(buf[:0], &wire.Header{Number: 1, Epoch: 1, Hop: time.Second})
		if err := f.Read(buf, &rules); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/items, "ns/charge")
}
