package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A size is a number of bytes, written as 1GiB, 512MiB or 1000000.
type size int64

var sizeUnits = map[string]int64{
	"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
}

// UnmarshalText reads a size.
func (s *size) UnmarshalText(text []byte) error {
	number := strings.TrimRight(string(text), "BKMGTik")
	unit, ok := sizeUnits[strings.TrimSpace(string(text[len(number):]))]
	n, err := strconv.ParseInt(strings.ReplaceAll(strings.TrimSpace(number), "_", ""), 10, 64)
	if err != nil || !ok || n < 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("%q is not a size: write a whole number and B, KiB, MiB, GiB or TiB, as 1GiB", text)
	}
	*s = size(n * unit)
	return nil
}

// String writes a size in its largest whole unit.
func (s size) String() string {
	for _, u := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if n := sizeUnits[u]; s != 0 && int64(s)%n == 0 {
			return strconv.FormatInt(int64(s)/n, 10) + u
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}
