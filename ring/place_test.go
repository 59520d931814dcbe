package ring_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-io/weir/ring"
)

func members(ids ...string) []ring.Member {
	var ms []ring.Member
	for _, id := range ids {
		ms = append(ms, ring.Member{ID: id, Boot: 1, State: ring.Up})
	}
	return ms
}

func owners(t *ring.Table) [ring.Partitions]string {
	var ids [ring.Partitions]string
	for p := range ids {
		if o := t.Owner(p); o != nil {
			ids[p] = o.ID
		}
	}
	return ids
}

func TestPlacementDependsOnlyOnTheMembers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Ids that begin like others, whose virtual points must not be the same.
		numbers := rapid.SliceOfNDistinct(rapid.SampledFrom([]int{1, 2, 11, 12, 21, 111, 112}), 1, 6, rapid.ID).Draw(t, "members")
		n := len(numbers)
		ids := make([]string, n)
		for i, number := range numbers {
			ids[i] = fmt.Sprintf("node-%d", number)
		}
		want := owners(ring.Place(nil, members(ids...)))
		shuffled := slices.Clone(ids)
		rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0)).Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := owners(ring.Place(nil, members(shuffled...))); got != want {
			t.Fatalf("order %v places otherwise", shuffled)
		}
	})
}

func TestReplicaIsTheNextOwner(t *testing.T) {
	all := members("a", "b", "c", "d", "e")
	table := ring.Place(nil, all)
	for p, row := range table.Rows {
		if row.Owner == row.Replica || row.Replica == ring.None {
			t.Fatalf("row %d: owner %d replica %d", p, row.Owner, row.Replica)
		}
	}
	gone := slices.Clone(all)
	gone[2].State = ring.Silent
	after := ring.Place(table, gone)
	for p, row := range table.Rows {
		if table.Members[row.Owner].ID == "c" && after.Owner(p).ID != table.Members[row.Replica].ID {
			t.Errorf("row %d went to %s, its replica was %s", p, after.Owner(p).ID, table.Members[row.Replica].ID)
		}
	}
	if len(after.Members) != 5 {
		t.Errorf("%d members, want all 5: a silent one still counts", len(after.Members))
	}
}

func TestReplicaInAnotherZone(t *testing.T) {
	ms := members("a", "b", "c", "d")
	ms[0].Zone, ms[1].Zone, ms[2].Zone, ms[3].Zone = "x", "x", "y", "y"
	for p, row := range ring.Place(nil, ms).Rows {
		if ms[row.Owner].Zone == ms[row.Replica].Zone {
			t.Fatalf("row %d: owner and replica both in zone %s", p, ms[row.Owner].Zone)
		}
	}
}

func TestFewRowsMove(t *testing.T) {
	four, five := ring.Place(nil, members("a", "b", "c", "d")), ring.Place(nil, members("a", "b", "c", "d", "e"))
	moved, between := 0, 0
	for p := range ring.Partitions {
		if o := five.Owner(p).ID; o != four.Owner(p).ID {
			moved++
			if o != "e" {
				between++
			}
		}
	}
	if ideal := ring.Partitions / 5; moved > ideal*13/10 || between > ring.Partitions/100 {
		t.Errorf("%d rows moved where %d would do, %d of them between old members", moved, ideal, between)
	}
	load := map[string]int{}
	for _, id := range owners(five) {
		load[id]++
	}
	for id, n := range load {
		if n > ring.Partitions*5/4/5+1 {
			t.Errorf("%s owns %d rows, more than 1.25 of its share", id, n)
		}
	}
}

func TestJoinAndLeaveMoveLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 6).Draw(t, "members")
		salt := rapid.StringMatching(`[a-z]{1,6}`).Draw(t, "salt")
		ids := make([]string, n+1)
		for i := range ids {
			ids[i] = fmt.Sprintf("%s-%d", salt, i)
		}
		few, many := owners(ring.Place(nil, members(ids[:n]...))), owners(ring.Place(nil, members(ids...)))
		moved, between := 0, 0
		load := map[string]int{}
		for p := range many {
			load[many[p]]++
			if few[p] != many[p] {
				moved++
				if many[p] != ids[n] {
					between++
				}
			}
		}
		// ids[n] joins, or read backwards, leaves: what it owns moves, hardly more.
		if share := ring.Partitions / (n + 1); moved > share*3/2 || between > ring.Partitions/20 {
			t.Fatalf("%d rows moved where %d would do, %d of them between others", moved, share, between)
		}
		for id, rows := range load {
			if most := ring.Partitions/(n+1)*5/4 + 1; rows > most {
				t.Fatalf("%s owns %d rows, more than %d", id, rows, most)
			}
		}
	})
}

// The numbers are what every version so far has placed: nodes of two versions must
// agree while one replaces the other.
func TestPlacementIsPinned(t *testing.T) {
	rows := map[string]int{}
	for _, id := range owners(ring.Place(nil, members("node-1", "node-2", "node-11"))) {
		rows[id]++
	}
	if got, want := fmt.Sprint(rows), "map[node-1:334 node-11:372 node-2:318]"; got != want {
		t.Errorf("rows %s, want %s", got, want)
	}
	if got, want := ring.SettingsHash(), uint64(0x4bd45196c185dfbe); got != want {
		t.Errorf("settings hash %#x, want %#x", got, want)
	}
}

func TestNamesThatCollide(t *testing.T) {
	// Points of "node-1" and "node-11" would be the same without the end of the name:
	// then the order of the list would decide, and removing one would panic.
	a := owners(ring.Place(nil, members("node-1", "node-2", "node-11")))
	if b := owners(ring.Place(nil, members("node-11", "node-1", "node-2"))); a != b {
		t.Error("the order of the list decides")
	}
	for p, id := range owners(ring.Place(nil, members("node-2", "node-11"))) {
		if id != "node-2" && id != "node-11" {
			t.Fatalf("row %d is still with %q", p, id)
		}
	}
}

func TestEqualAndFind(t *testing.T) {
	one := ring.Place(nil, members("a", "b"))
	two := ring.Place(nil, members("b", "a"))
	two.Epoch, two.Rows[3].Since = 9, 9
	if !one.Equal(two) {
		t.Error("tables that differ in epochs only are not equal")
	}
	for name, other := range map[string]*ring.Table{
		"a member more": ring.Place(nil, members("a", "b", "c")),
		"a new boot":    ring.Place(nil, []ring.Member{{ID: "a", Boot: 1, State: ring.Up}, {ID: "b", Boot: 2, State: ring.Up}}),
		"no members":    ring.Place(nil, nil),
	} {
		if one.Equal(other) {
			t.Errorf("%s: equal", name)
		}
	}
	two.Rows[3].Owner, two.Rows[3].Replica = two.Rows[3].Replica, two.Rows[3].Owner
	if one.Equal(two) {
		t.Error("tables with another owner are equal")
	}
	if one.Find("b") != 1 || one.Find("c") != -1 {
		t.Errorf("find b: %d, c: %d", one.Find("b"), one.Find("c"))
	}
}

func TestSince(t *testing.T) {
	before := ring.Place(nil, members("a", "b"))
	for p := range before.Rows {
		before.Rows[p].Since = 7
	}
	ms := members("a", "b")
	ms[1].Boot = 2
	for p, row := range ring.Place(before, ms).Rows {
		if kept := row.Since == 7; kept != (ms[row.Owner].ID == "a") {
			t.Fatalf("row %d of %s: since %d", p, ms[row.Owner].ID, row.Since)
		}
	}
}

func TestNobodyOwnsNothing(t *testing.T) {
	for _, ms := range [][]ring.Member{nil, {{ID: "a", State: ring.Silent}}, {{ID: "a", State: ring.Leaving}}} {
		if o := ring.Place(nil, ms).Owner(3); o != nil {
			t.Errorf("members %v: %s owns a row", ms, o.ID)
		}
	}
	alone := ring.Place(nil, members("a"))
	if alone.Owner(0).ID != "a" || alone.Rows[0].Replica != ring.None {
		t.Errorf("a lone member: %+v", alone.Rows[0])
	}
}

func TestRightsSumToTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, hi, limit := rapid.IntRange(1, 50).Draw(t, "members"), rapid.Uint64().Draw(t, "hi"), rapid.Int64Range(0, 1e12).Draw(t, "limit")
		var sum int64
		for i := range m {
			right := ring.Right(m, i, hi, limit)
			if first := ring.Right(m, ring.RightFirst(m, hi), hi, limit); right > first {
				t.Fatalf("right of %d is %d, more than the first's %d", i, right, first)
			}
			sum += right
		}
		if sum != limit {
			t.Fatalf("rights sum to %d, want %d", sum, limit)
		}
	})
}

func ExamplePlace() {
	table := ring.Place(nil, []ring.Member{{ID: "alpha", State: ring.Up}, {ID: "beta", State: ring.Up}})
	rows := map[string]int{}
	for p := range ring.Partitions {
		rows[table.Owner(p).ID]++
	}
	fmt.Println(len(rows), "owners of", rows["alpha"]+rows["beta"], "rows")
	// Output: 2 owners of 1024 rows
}

func BenchmarkPlace(b *testing.B) {
	for _, n := range []int{3, 5, 20, 50} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			var ids []string
			for i := range n {
				ids = append(ids, fmt.Sprintf("n%d", i))
			}
			ms := members(ids...)
			for b.Loop() {
				ring.Place(nil, ms)
			}
		})
	}
}
