package bucket

// A cell is one entry of a log or a list of permits: when it counts from or until, and
// what it counts.
type cell struct {
	at  int64 // nanoseconds since the Unix epoch
	val uint64
}

// cellBytes is the size of a cell.
const cellBytes = 16

// Chunks have a power of two of cells, from 1<<minClass to 1<<maxClass.
const (
	minClass = 2  // 4 cells
	maxClass = 14 // 16,384 cells hold MaxHeld entries
)

// An arena holds the chunks of one partition in one slice without pointers. Chunks
// are found by the place of their first cell plus one, so that 0 is none. Freed chunks
// wait in a list per size, linked through val of their first cell. It is guarded by
// its partition's lock.
type arena struct {
	cells []cell
	free  [maxClass + 1]int64
	live  int // chunks in use
}

// alloc returns a chunk of a class, or 0 when budget has no bytes for a larger arena.
func (a *arena) alloc(class int, budget *budget) int64 {
	if place := a.free[class]; place != 0 {
		a.free[class] = int64(a.cells[place-1].val)
		a.live++
		return place
	}
	need := 1 << class
	if len(a.cells)+need > cap(a.cells) && !a.grow(need, budget) {
		return 0
	}
	place := int64(len(a.cells)) + 1
	a.cells = a.cells[:len(a.cells)+need]
	a.live++
	return place
}

// grow makes room for need more cells: half as many again, or where memory is short
// just what is needed.
func (a *arena) grow(need int, budget *budget) bool {
	size := max(cap(a.cells)+cap(a.cells)/2, len(a.cells)+need)
	if !budget.take(int64(size-cap(a.cells)) * cellBytes) {
		size = len(a.cells) + need
		if !budget.take(int64(size-cap(a.cells)) * cellBytes) {
			return false
		}
	}
	grown := make([]cell, len(a.cells), size)
	copy(grown, a.cells)
	a.cells = grown
	return true
}

// release puts a chunk into its list.
func (a *arena) release(place int64, class int) {
	a.cells[place-1] = cell{val: uint64(a.free[class])}
	a.free[class] = place
	a.live--
}

// trim gives the memory of an arena without chunks back.
func (a *arena) trim(budget *budget) {
	if a.live == 0 && cap(a.cells) > 0 {
		budget.give(int64(cap(a.cells)) * cellBytes)
		*a = arena{}
	}
}
