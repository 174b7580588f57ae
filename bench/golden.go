package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"culvert/bench/gobench"
)

// goldenFile holds the allocations of one operation of each benchmark, as they shall stay.
const goldenFile = "bench/testdata/allocations.golden"

// goldenPackages are those whose benchmarks allocate the same in every run. Left out are those that go
// through net/http, whose pools do not, and those of the kernel's programs, whose instructions a test of
// package bpf counts.
var goldenPackages = []string{"./bpf/abi", "./dataplane/...", "./controlplane/telemetry"}

// goldenTimes is how many operations a figure is the mean of: so many that what a benchmark allocates once,
// and the Go runtime now and then, is less than one for each and does not count.
const goldenTimes = "1000x"

// goldenLong is the benchmarks of which one operation is a pass over thousands of packets or keys, and
// goldenLongTimes how often those are run.
const goldenLong, goldenLongTimes = `^(BenchmarkPath|BenchmarkPathPages|BenchmarkSucceed)$`, "50x"

// goldenNot is the benchmarks of these packages that are left out: one allocates by the clock, since it
// measures waits beside goroutines that sync a disk and ask a server; of the other one operation makes
// millions of keys.
const goldenNot = `^(BenchmarkSpoolerTakesIn|BenchmarkNewKeys)$`

// runGolden compares allocations with the golden file, or writes it.
func runGolden(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("bench golden", flag.ContinueOnError)
	update := flags.Bool("update", false, "write the file instead of comparing with it")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	var got []string
	for _, c := range []gobench.Config{
		{Pattern: ".", Time: goldenTimes,
			Arguments: []string{"-benchmem", "-skip", goldenLong + "|" + goldenNot}},
		{Pattern: goldenLong, Time: goldenLongTimes, Arguments: []string{"-benchmem"}},
	} {
		c.Folder, c.Packages = ".", goldenPackages
		results, err := gobench.Run(ctx, c)
		if err != nil {
			return err
		}
		got = append(got, allocations(results)...)
	}
	slices.Sort(got)
	if *update {
		if err := os.MkdirAll(filepath.Dir(goldenFile), 0o755); err != nil {
			return fmt.Errorf("write golden file: %w", err)
		}
		if err := os.WriteFile(goldenFile, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			return fmt.Errorf("write golden file: %w", err)
		}
		fmt.Printf("%s: %d benchmarks\n", goldenFile, len(got))
		return nil
	}
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		return fmt.Errorf("read golden file: %w", err)
	}
	differences := compare(strings.Split(strings.TrimSpace(string(text)), "\n"), got)
	for _, difference := range differences {
		fmt.Println(difference)
	}
	if len(differences) > 0 {
		return errors.New("allocations differ from " + goldenFile + "; if that is meant, run " +
			"`make bench-golden-update` and say why in the commit")
	}
	fmt.Printf("allocations of %d benchmarks are as in %s\n", len(got), goldenFile)
	return nil
}

// allocations has a line for each benchmark: package, name, allocations of one operation.
func allocations(results []gobench.Result) []string {
	var lines []string
	for _, r := range results {
		// A path of vectors runs where the CPU has them; each is like the portable one, which always runs.
		if strings.Contains(r.Name, "/avx") {
			continue
		}
		if allocs, found := r.Values["allocs/op"]; found {
			lines = append(lines, fmt.Sprintf("%s %s %.0f", r.Package, r.Name, allocs))
		}
	}
	return lines
}

// compare says in words how benchmarks differ from the golden ones.
func compare(want, got []string) []string {
	wanted, gotten := byName(want), byName(got)
	var differences []string
	for _, line := range got {
		name := nameOf(line)
		before, known := wanted[name]
		switch {
		case !known:
			differences = append(differences, fmt.Sprintf("%s: %s, and it is not in the file", name,
				gotten[name]))
		case before != gotten[name]:
			differences = append(differences, fmt.Sprintf("%s: %s, it was %s", name, gotten[name], before))
		}
	}
	for _, line := range want {
		if _, found := gotten[nameOf(line)]; !found {
			differences = append(differences, nameOf(line)+": it is in the file, and did not run")
		}
	}
	return differences
}

func nameOf(line string) string { return line[:max(strings.LastIndexByte(line, ' '), 0)] }

func byName(lines []string) map[string]string {
	values := map[string]string{}
	for _, line := range lines {
		name := nameOf(line)
		values[name] = strings.TrimSpace(line[len(name):])
	}
	return values
}
