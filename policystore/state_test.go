package policystore

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	weirv1 "github.com/weir-io/weir/proto/weir/v1"
	"github.com/weir-io/weir/ring"
)

func entry(t testing.TB, c *weirv1.Command) []byte {
	t.Helper()
	b, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func initEntry(t testing.TB, id string) []byte {
	return entry(t, &weirv1.Command{Kind: &weirv1.Command_Init{Init: &weirv1.InitCluster{ClusterId: id, Secret: bytes.Repeat([]byte{7}, secretSize)}}})
}

func policiesEntry(t testing.TB, c *weirv1.ChangePolicies) []byte {
	return entry(t, &weirv1.Command{Kind: &weirv1.Command_Policies{Policies: c}})
}

func tableEntry(t testing.TB, from uint64, table *ring.Table) []byte {
	m, r := TableToProto(table)
	return entry(t, &weirv1.Command{Kind: &weirv1.Command_Table{Table: &weirv1.ChangeTable{FromEpoch: from, Members: m, Rows: r}}})
}

func text(domain, content string) *weirv1.Document {
	return &weirv1.Document{Domain: domain, Text: content}
}

// run applies entries from index 1 on and returns the state and the last result.
func run(entries ...[]byte) (*state, *weirv1.CommandResult) {
	st, res := newState(), (*weirv1.CommandResult)(nil)
	for i, e := range entries {
		st, res = st.apply(uint64(i+1), e)
	}
	return st, res
}

func TestVersions(t *testing.T) {
	founded := initEntry(t, "c1")
	a, b, gone := text("a", "1"), text("b", "2"), text("a", "")
	pol := func(docs ...*weirv1.Document) []byte { return policiesEntry(t, change(docs...)) }
	cas := func(v uint64, docs ...*weirv1.Document) []byte {
		c := change(docs...)
		c.IfVersion = &v
		return policiesEntry(t, c)
	}
	seed := func(docs ...*weirv1.Document) []byte {
		c := change(docs...)
		c.Seed = true
		return policiesEntry(t, c)
	}
	for _, tt := range []struct {
		name    string
		entries [][]byte
		version uint64
		code    codes.Code
		docs    string // domain@version, sorted
	}{
		{"first", [][]byte{founded, pol(a)}, 1, codes.OK, "a@1"},
		{"before the cluster has a name", [][]byte{pol(a)}, 0, codes.FailedPrecondition, ""},
		{"named twice", [][]byte{founded, initEntry(t, "c2")}, 0, codes.AlreadyExists, ""},
		{"two at once, any order", [][]byte{founded, pol(b, a)}, 1, codes.OK, "a@1 b@1"},
		{"others stay", [][]byte{founded, pol(a), pol(b)}, 2, codes.OK, "a@1 b@2"},
		{"the same again", [][]byte{founded, pol(a), pol(a)}, 1, codes.OK, "a@1"},
		{"half of it the same", [][]byte{founded, pol(a), pol(a, b)}, 2, codes.OK, "a@1 b@2"},
		{"emptied", [][]byte{founded, pol(a, b), pol(gone)}, 2, codes.OK, "b@1"},
		{"emptied though empty", [][]byte{founded, pol(b), pol(gone)}, 1, codes.OK, "b@1"},
		{"if current", [][]byte{founded, pol(a), cas(1, b)}, 2, codes.OK, "a@1 b@2"},
		{"if stale", [][]byte{founded, pol(a), cas(2, b)}, 1, codes.Aborted, "a@1"},
		{"if nothing was ever applied", [][]byte{founded, cas(0, b)}, 1, codes.OK, "b@1"},
		{"if nothing was, but something was", [][]byte{founded, pol(a), cas(0, b)}, 1, codes.Aborted, "a@1"},
		{"seed", [][]byte{founded, seed(a)}, 1, codes.OK, "a@1"},
		{"seed twice", [][]byte{founded, seed(a), seed(b)}, 1, codes.FailedPrecondition, "a@1"},
		{"seed after all was emptied", [][]byte{founded, pol(a), pol(gone), seed(b)}, 2, codes.FailedPrecondition, ""},
		{"a domain twice", [][]byte{founded, pol(a, a)}, 0, codes.InvalidArgument, ""},
		{"no domain", [][]byte{founded, pol(text("", "1"))}, 0, codes.InvalidArgument, ""},
		{"too large", [][]byte{founded, pol(text("a", strings.Repeat("x", 4<<20+1)))}, 0, codes.InvalidArgument, ""},
		{"unknown kind", [][]byte{founded, pol(a), nil}, 1, codes.Unimplemented, "a@1"},
		{"of a newer version", [][]byte{founded, pol(a), {0xa2, 0x06, 0x01, 0x41}}, 1, codes.Unimplemented, "a@1"},
		{"nonsense", [][]byte{founded, pol(a), {0xff}}, 1, codes.InvalidArgument, "a@1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st, res := run(tt.entries...)
			var docs []string
			for _, d := range st.docs {
				docs = append(docs, fmt.Sprintf("%s@%d", d.GetDomain(), d.GetVersion()))
			}
			if got := strings.Join(docs, " "); got != tt.docs || st.version != tt.version || res.GetPolicyVersion() != tt.version || res.GetCode() != int32(tt.code) {
				t.Errorf("documents %q at version %d, result %v; want %q at %d with code %v", got, st.version, res, tt.docs, tt.version, tt.code)
			}
			if (res.GetCode() == 0) != (res.GetRefused() == "") {
				t.Errorf("code and words disagree: %v", res)
			}
			if len(st.history) != int(st.version) {
				t.Errorf("%d changes remembered at version %d", len(st.history), st.version)
			}
		})
	}
}

func TestStatesAreImmutable(t *testing.T) {
	st, _ := run(initEntry(t, "c"), policiesEntry(t, change(text("a", "1"), text("b", "1"))), tableEntry(t, 0, ring.Place(nil, members("n1"))))
	before, err := encodeState(st)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range [][]byte{
		policiesEntry(t, change(text("a", ""), text("b", "2"), text("aa", "3"))),
		tableEntry(t, 3, ring.Place(nil, members("n1", "n2"))),
	} {
		st.apply(4, e)
	}
	if after, err := encodeState(st); err != nil || !bytes.Equal(after, before) {
		t.Errorf("applying to a state changed it (%v)", err)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	st, _ := run(initEntry(t, "c"))
	for i := range 2 * maxHistory {
		st, _ = st.apply(uint64(i+2), policiesEntry(t, change(text("a", fmt.Sprint(i)))))
	}
	if n := len(st.history); n != maxHistory {
		t.Fatalf("%d changes remembered, want %d", n, maxHistory)
	}
	last := st.history[maxHistory-1]
	if v := last.GetDocuments()[0].GetVersion(); v != 2*maxHistory || last.GetActor() != "ann" || last.GetDocuments()[0].GetText() != "" {
		t.Errorf("the newest is %v, want version %d by ann and no text", last, 2*maxHistory)
	}
}

func TestTableRefusals(t *testing.T) {
	good := func() *weirv1.ChangeTable {
		m, r := TableToProto(ring.Place(nil, members("n1", "n2")))
		return &weirv1.ChangeTable{Members: m, Rows: r}
	}
	for _, tt := range []struct {
		name  string
		spoil func(*weirv1.ChangeTable)
		code  codes.Code
	}{
		{"good", func(*weirv1.ChangeTable) {}, codes.OK},
		{"nobody", func(c *weirv1.ChangeTable) { c.Members, c.Rows = nil, nil }, codes.OK},
		{"stale", func(c *weirv1.ChangeTable) { c.FromEpoch = 9 }, codes.Aborted},
		{"a row short", func(c *weirv1.ChangeTable) { c.Rows = c.Rows[1:] }, codes.InvalidArgument},
		{"rows without members", func(c *weirv1.ChangeTable) { c.Members = nil }, codes.InvalidArgument},
		{"unsorted", func(c *weirv1.ChangeTable) { slices.Reverse(c.Members) }, codes.InvalidArgument},
		{"twice", func(c *weirv1.ChangeTable) { c.Members[1].NodeId = "n1" }, codes.InvalidArgument},
		{"no id", func(c *weirv1.ChangeTable) { c.Members[0].NodeId = "" }, codes.InvalidArgument},
		{"id with #", func(c *weirv1.ChangeTable) { c.Members[1].NodeId = "n2#1" }, codes.InvalidArgument},
		{"owner out of range", func(c *weirv1.ChangeTable) { c.Rows[5].Owner = 2 }, codes.InvalidArgument},
		{"owner below none", func(c *weirv1.ChangeTable) { c.Rows[5].Replica = -2 }, codes.InvalidArgument},
		{"row state", func(c *weirv1.ChangeTable) { c.Rows[5].State = 9 }, codes.InvalidArgument},
		{"member state", func(c *weirv1.ChangeTable) { c.Members[0].State = 0 }, codes.InvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.spoil(c)
			st, res := run(entry(t, &weirv1.Command{Kind: &weirv1.Command_Table{Table: c}}))
			if res.GetCode() != int32(tt.code) || (st.table.Epoch == 1) != (tt.code == codes.OK) {
				t.Errorf("result %v, epoch %d; want code %v", res, st.table.Epoch, tt.code)
			}
		})
	}
}

func TestTableThroughProto(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &ring.Table{Epoch: rapid.Uint64().Draw(t, "epoch")}
		n := rapid.IntRange(1, 9).Draw(t, "members")
		for i := range n {
			want.Members = append(want.Members, ring.Member{
				ID: fmt.Sprintf("n%d", i), Boot: rapid.Uint64().Draw(t, "boot"), Zone: rapid.SampledFrom([]string{"", "z"}).Draw(t, "zone"),
				PeerAddr: "p:1", GRPCAddr: "g:1", HTTPAddr: "h:1", State: ring.MemberState(rapid.IntRange(1, 3).Draw(t, "state")),
			})
		}
		place := rapid.Int16Range(-1, int16(n-1))
		for p := range want.Rows {
			want.Rows[p] = ring.Row{Owner: place.Draw(t, "owner"), Replica: int16(p % n), Target: ring.None, State: ring.RowState(1 + p%3), Since: uint64(p)}
		}
		m, r := TableToProto(want)
		got, err := TableFromProto(want.Epoch, m, r)
		if err != nil || got.Rows != want.Rows || !slices.Equal(got.Members, want.Members) || got.Epoch != want.Epoch {
			t.Fatalf("got %v, %v", got, err)
		}
		owned := 0
		for _, m := range m {
			owned += int(m.GetOwned())
		}
		for _, row := range want.Rows {
			if row.Owner == ring.None {
				owned++
			}
		}
		if owned != ring.Partitions {
			t.Fatalf("members own and nobody owns %d rows, want %d", owned, ring.Partitions)
		}
	})
}

func TestDamagedStates(t *testing.T) {
	st, _ := run(initEntry(t, "c"), policiesEntry(t, change(text("a", "1"))))
	good, err := encodeState(st)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeState(good); err != nil {
		t.Fatalf("whole: %v", err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := decodeState(bad); err == nil {
			t.Fatalf("byte %d of %d flipped and not noticed", i, len(good))
		}
		if _, err := decodeState(good[:i]); err == nil {
			t.Fatalf("cut at %d of %d and not noticed", i, len(good))
		}
	}
}

// A machine without raft: tables and signals go nowhere.
func lonely() *machine {
	m := &machine{log: slog.New(slog.DiscardHandler), tables: make(chan *ring.Table, 64), recompile: make(chan struct{}, 1), unsaved: make(chan struct{}, 1)}
	m.applied.Store(newState())
	return m
}

func TestPanicIsQuarantined(t *testing.T) {
	m := lonely()
	st := newState()
	st.table = &ring.Table{Members: make([]ring.Member, 1)}
	st.table.Rows[0].Owner = 7 // no entry makes such a table
	m.applied.Store(st)
	poison := tableEntry(t, 0, ring.Place(nil, members("n1")))
	res, ok := m.Apply(&raft.Log{Index: 5, Data: poison}).(*weirv1.CommandResult)
	if !ok || res.GetCode() != int32(codes.Internal) || m.quarantined.Load() != 1 || m.applied.Load() != st {
		t.Errorf("result %v, %d quarantined", res, m.quarantined.Load())
	}
	if res := m.Apply(&raft.Log{Index: 6, Data: initEntry(t, "c")}).(*weirv1.CommandResult); res.GetRefused() != "" {
		t.Errorf("the entry after it: %v", res)
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte{}, []byte{0xff}, []byte("a"))
	f.Add(initEntry(f, "c"), policiesEntry(f, change(text("a", "1"), text("b", "2"))), policiesEntry(f, change(text("a", ""))))
	f.Add(initEntry(f, "c"), tableEntry(f, 0, ring.Place(nil, members("n1", "n2"))), tableEntry(f, 2, ring.Place(nil, members("n2"))))
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		one, two := lonely(), lonely()
		entries := [][]byte{initEntry(t, "fuzz"), a, b, c, b}
		for i, e := range entries {
			log := raft.Log{Index: uint64(i + 1), Data: e}
			r1, r2 := one.Apply(&log).(*weirv1.CommandResult), two.Apply(&log).(*weirv1.CommandResult)
			if !proto.Equal(r1, r2) {
				t.Fatalf("entry %d gave %v and %v", i, r1, r2)
			}
		}
		if one.quarantined.Load() != 0 {
			t.Fatal("an entry panicked")
		}
		e1, err1 := encodeState(one.applied.Load())
		e2, err2 := encodeState(two.applied.Load())
		if err1 != nil || err2 != nil || !bytes.Equal(e1, e2) {
			t.Fatalf("two machines differ (%v, %v)", err1, err2)
		}
		back, err := decodeState(e1)
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		if e3, err := encodeState(back); err != nil || !bytes.Equal(e1, e3) {
			t.Fatalf("a snapshot of a snapshot differs (%v)", err)
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	st, _ := run(initEntry(f, "c"), policiesEntry(f, change(text("a", "1"))))
	good, err := encodeState(st)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(stateMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeState(b); err != nil {
			_, _ = decodeState(seal(b)) // past the checksum; it must not panic
		}
	})
}

// seal makes bytes that decodeState takes for whole.
func seal(records []byte) []byte {
	return sum(append([]byte(stateMagic), records...))
}
