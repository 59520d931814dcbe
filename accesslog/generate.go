package accesslog

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"
)

// A Generator makes the records of a log that resembles a busy site's: a few clients
// and paths stand for most requests (Zipf, exponent 1.1), requests come at random
// (Poisson) and stand up to a few seconds from their place. The same seed and count
// make the same log.
type Generator struct {
	left    int
	line    int
	rng     *rand.Rand
	clients *rand.Zipf
	paths   *rand.Zipf
	seed    uint64
	at      time.Duration // since generatedFrom, of the next request
}

// Shape of a generated log.
const (
	generatedClients = 20_000
	generatedPaths   = 500
	generatedRate    = 20 // requests a second
	zipfExponent     = 1.1
)

// generatedFrom is when generated logs begin: a fixed time, so that two runs are alike.
var generatedFrom = time.Date(2026, time.January, 5, 9, 0, 0, 0, time.UTC)

// NewGenerator returns a Generator of count records.
func NewGenerator(count int, seed uint64) *Generator {
	rng := rand.New(rand.NewPCG(seed, 0x77656972))
	return &Generator{
		left: count, rng: rng, seed: seed,
		clients: rand.NewZipf(rng, zipfExponent, 4, generatedClients-1),
		paths:   rand.NewZipf(rng, zipfExponent, 2, generatedPaths-1),
	}
}

// Next returns the next record, io.EOF after the last.
func (g *Generator) Next() (Record, error) {
	if g.left <= 0 {
		return Record{}, io.EOF
	}
	g.left--
	g.line++
	g.at += time.Duration(-math.Log(1-g.rng.Float64()) * float64(time.Second) / generatedRate)
	began := g.at - time.Duration(g.rng.Int64N(int64(3*time.Second)))
	client, path := g.clients.Uint64(), g.paths.Uint64()
	return Record{
		Time:   generatedFrom.Add(max(began, 0)).Truncate(time.Second),
		Host:   g.host(client),
		Method: pick(g.rng, methods[:]), Path: pathName(path), Status: pick(g.rng, statuses[:]),
		UserAgent: userAgents[client%uint64(len(userAgents))], Referer: referers[path%uint64(len(referers))],
		Line: g.line,
	}, nil
}

// host returns the address of a client by its rank: mostly IPv4, every 16th IPv6.
func (g *Generator) host(rank uint64) string {
	x := (rank+1)*0x9e3779b97f4a7c15 ^ g.seed*0xbf58476d1ce4e5b9
	x ^= x >> 29
	if rank%16 == 7 {
		a := [16]byte{0x20, 0x01, 0x0d, 0xb8, byte(x >> 24), byte(x >> 16), 14: byte(rank >> 8), 15: byte(rank)}
		return netip.AddrFrom16(a).String()
	}
	return netip.AddrFrom4([4]byte{10 + byte(x%3), byte(x >> 8), byte(rank >> 8), byte(rank)}).String()
}

// A weighted choice is picked in proportion to its weight.
type weighted struct {
	value  string
	weight int
}

var (
	methods    = [...]weighted{{"GET", 92}, {"POST", 5}, {"HEAD", 2}, {"PUT", 1}}
	statuses   = [...]weighted{{"200", 90}, {"304", 4}, {"404", 4}, {"301", 1}, {"500", 1}}
	sections   = [...]string{"v1/orders", "v1/items", "v1/users", "blog", "images", "search", "login"}
	userAgents = [...]string{"Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "curl/8.14.1", "Mozilla/5.0 (compatible; ExampleBot/1.0)", ""}
	referers   = [...]string{"", "", "https://www.example.com/", ""}
)

func pick(rng *rand.Rand, choices []weighted) string {
	sum := 0
	for _, c := range choices {
		sum += c.weight
	}
	n := rng.IntN(sum)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			return c.value
		}
	}
	return choices[0].value
}

// pathName returns the path of a rank; the most asked for is the login page.
func pathName(rank uint64) string {
	if rank == 0 {
		return "/login"
	}
	return "/" + sections[rank%uint64(len(sections))] + "/" + strconv.FormatUint(rank, 10)
}

// WriteTo writes the rest of the log as lines of the combined format.
func (g *Generator) WriteTo(w io.Writer) (written int64, err error) {
	for {
		rec, err := g.Next()
		if err != nil {
			return written, nil
		}
		n, err := fmt.Fprintf(w, "%s\n", rec.Combined())
		written += int64(n)
		if err != nil {
			return written, fmt.Errorf("write line %d of the log: %w", g.line, err)
		}
	}
}
