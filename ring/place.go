package ring

import (
	"fmt"
	"slices"
	"strings"

	"github.com/buraksezer/consistent"
	"github.com/zeebo/xxh3"
)

// Settings of the ring. All nodes of a cluster must share them: see [SettingsHash].
const (
	replicationFactor = 100
	load              = 1.25
	hashSeed          = 0x77656972 // fixed, so that every process places alike
)

type hasher struct{}

func (hasher) Sum64(b []byte) uint64 { return xxh3.HashSeed(b, hashSeed) }

// A point is a member's name on the ring. Virtual points are made by appending a
// number to it: '#', which no id may hold, keeps n-1's points from being n-11's.
type point string

func (p point) String() string { return string(p) + "#" }

// SettingsHash tells two nodes whether they would place alike.
func SettingsHash() uint64 {
	return xxh3.HashString(fmt.Sprintf("consistent v0.10 xxh3 %x partitions %d replication %d load %v", hashSeed, Partitions, replicationFactor, load))
}

// Place returns the table that placement wants for members: rows on those that are
// up, by consistent hashing over the sorted list, nothing else. prev gives rows that
// keep their owner their Since; a new owner's is 0, which the log replaces by the
// epoch of the change. Epoch of the result is 0.
func Place(prev *Table, members []Member) *Table {
	t := &Table{Members: slices.Clone(members)}
	slices.SortFunc(t.Members, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	up := t.up(func(Member) bool { return true })
	owners := place(t.Members, up)
	replicas := t.replicas(up)
	for p := range t.Rows {
		row := Row{Owner: owners[p], Replica: None, Target: None, State: Steady}
		if row.Owner != None {
			row.Replica = replicas[row.Owner][p]
			if old := prev.Owner(p); old != nil && old.ID == t.Members[row.Owner].ID && old.Boot == t.Members[row.Owner].Boot {
				row.Since = prev.Rows[p].Since
			}
		}
		t.Rows[p] = row
	}
	return t
}

// up returns the places of members that may have rows and are wanted.
func (t *Table) up(want func(Member) bool) []int16 {
	var places []int16
	for i, m := range t.Members {
		if m.State == Up && want(m) {
			places = append(places, int16(i))
		}
	}
	return places
}

// replicas returns, for every possible owner, who replicates each partition: its owner
// in the ring without that member, without its whole zone where others are left.
func (t *Table) replicas(up []int16) map[int16]*[Partitions]int16 {
	replicas := make(map[int16]*[Partitions]int16, len(up))
	for _, owner := range up {
		o := t.Members[owner]
		others := t.up(func(m Member) bool { return m.ID != o.ID && (o.Zone == "" || m.Zone != o.Zone) })
		if len(others) == 0 {
			others = t.up(func(m Member) bool { return m.ID != o.ID })
		}
		replicas[owner] = place(t.Members, others)
	}
	return replicas
}

// place returns the owner of every partition among the members at places. Of more
// members than there are rows the last own nothing: consistent panics on them.
func place(members []Member, places []int16) *[Partitions]int16 {
	var rows [Partitions]int16
	places = places[:min(len(places), Partitions)]
	if len(places) == 0 {
		for p := range rows {
			rows[p] = None
		}
		return &rows
	}
	points := make([]consistent.Member, len(places))
	byName := make(map[string]int16, len(places))
	for i, at := range places {
		name := point(members[at].ID)
		points[i], byName[name.String()] = name, at
	}
	ring := consistent.New(points, consistent.Config{
		Hasher: hasher{}, PartitionCount: Partitions, ReplicationFactor: replicationFactor, Load: load,
	})
	for p := range rows {
		rows[p] = byName[ring.GetPartitionOwner(p).String()]
	}
	return &rows
}

// Right returns the share of a limit that the member at place has of members, for
// the key whose hash's upper half is hi: all shares sum to limit. members is at least 1
// and place one of them.
func Right(members, place int, hi uint64, limit int64) int64 {
	m := int64(members)
	rank := (int64(place) - int64(hi%uint64(members)) + m) % m
	right := limit / m
	if rank < limit%m {
		right++
	}
	return right
}

// RightFirst returns the place of the member that has the largest share of a limit for
// a key: where any has one, it has. members is at least 1.
func RightFirst(members int, hi uint64) int { return int(hi % uint64(members)) }

// Find returns the place of a member by id, or -1.
func (t *Table) Find(id string) int {
	for i := range t.Members {
		if t.Members[i].ID == id {
			return i
		}
	}
	return -1
}

// Owner returns the owner of a partition, nil when it has none.
func (t *Table) Owner(partition int) *Member {
	if t == nil || len(t.Members) == 0 || t.Rows[partition].Owner == None {
		return nil
	}
	return &t.Members[t.Rows[partition].Owner]
}

// Equal reports whether two tables list the same members and rows, whatever their
// epochs.
func (t *Table) Equal(o *Table) bool {
	if !slices.Equal(t.Members, o.Members) {
		return false
	}
	for p := range t.Rows {
		a, b := t.Rows[p], o.Rows[p]
		a.Since, b.Since = 0, 0
		if a != b {
			return false
		}
	}
	return true
}
