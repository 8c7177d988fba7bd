// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// A watch takes CPU time and memory of another process while something runs.
type watch struct {
	pid  int
	cpu  float64
	end  chan struct{}
	peak chan float64
}

// observe begins to watch; with the process id 0 there is nothing to watch.
func observe(pid int) *watch {
	w := &watch{pid: pid, cpu: cpuSeconds(pid), end: make(chan struct{}), peak: make(chan float64, 1)}
	go func() {
		most := residentMiB(pid)
		for {
			select {
			case <-w.end:
				w.peak <- max(most, residentMiB(pid))
				return
			case <-time.After(100 * time.Millisecond):
				most = max(most, residentMiB(pid))
			}
		}
	}()
	return w
}

func (w *watch) stop() map[string]any {
	close(w.end)
	peak := <-w.peak
	if w.pid == 0 {
		return map[string]any{}
	}
	return map[string]any{"cpu_seconds": round(cpuSeconds(w.pid)-w.cpu, 2), "rss_mib": round(peak, 1)}
}

// cpuSeconds is user and system time of all threads, in the kernel's ticks of 10 ms.
func cpuSeconds(pid int) float64 {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name of the process is in brackets and may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

func residentMiB(pid int) float64 {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(statm))
	pages, _ := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize()) / (1 << 20)
}
