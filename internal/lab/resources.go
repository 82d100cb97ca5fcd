package lab

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The kernel's CPU units: shares of a whole CPU, and a period in microseconds.
const (
	sharesPerCPU = 1024
	minShares    = 2
	maxShares    = 262144
	cpuPeriod    = 100000
	minQuota     = 1000
)

// Scores at which the kernel takes a process when memory runs out.
const (
	guaranteedScore = -997
	bestEffortScore = 1000
)

// qosClass is a pod's quality of service: Guaranteed when every container has
// equal requests and limits of CPU and memory, BestEffort when none has any.
func qosClass(pod *corev1.Pod) corev1.PodQOSClass {
	guaranteed, some := true, false
	for _, c := range pod.Spec.Containers {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
			some = some || !request.IsZero() || !limit.IsZero()
			guaranteed = guaranteed && !limit.IsZero() && request.Cmp(limit) == 0
		}
	}
	switch {
	case !some:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// podCgroup is where the kubelet's cgroupfs driver puts a pod.
func (n Node) podCgroup(pod *corev1.Pod) string {
	class := strings.ToLower(string(qosClass(pod)))
	if qosClass(pod) == corev1.PodQOSGuaranteed {
		class = "" // such pods stand beside the other classes' groups
	}
	return path.Join(n.CgroupParent, "kubepods", class, "pod"+string(pod.UID))
}

func (n Node) containerResources(pod *corev1.Pod, c corev1.Container) *cri.LinuxContainerResources {
	limits, requests := c.Resources.Limits, c.Resources.Requests
	r := &cri.LinuxContainerResources{
		CpuPeriod:          cpuPeriod,
		CpuQuota:           cpuQuota(limits.Cpu().MilliValue()),
		CpuShares:          cpuShares(requests.Cpu().MilliValue()),
		MemoryLimitInBytes: limits.Memory().Value(),
		OomScoreAdj:        n.oomScoreAdj(pod, c),
	}
	if n.SwapAccounting {
		r.MemorySwapLimitInBytes = r.MemoryLimitInBytes
	}
	if n.UnifiedCgroups {
		// One process killed for memory takes its container with it.
		r.Unified = map[string]string{"memory.oom.group": "1"}
	}
	return r
}

// sandboxResources are the sums over the containers; a limit only when every
// container has one.
func (n Node) sandboxResources(pod *corev1.Pod) *cri.LinuxContainerResources {
	var request, cpu, memory int64
	cpuLimited, memoryLimited := true, true
	for _, c := range pod.Spec.Containers {
		request += c.Resources.Requests.Cpu().MilliValue()
		cpu += c.Resources.Limits.Cpu().MilliValue()
		memory += c.Resources.Limits.Memory().Value()
		cpuLimited = cpuLimited && !c.Resources.Limits.Cpu().IsZero()
		memoryLimited = memoryLimited && !c.Resources.Limits.Memory().IsZero()
	}
	r := &cri.LinuxContainerResources{CpuPeriod: cpuPeriod, CpuShares: cpuShares(request)}
	if cpuLimited {
		r.CpuQuota = cpuQuota(cpu)
	}
	if memoryLimited {
		r.MemoryLimitInBytes = memory
	}
	return r
}

// oomScoreAdj lies the higher the smaller a part of the machine's memory the
// container requests, within its class.
func (n Node) oomScoreAdj(pod *corev1.Pod, c corev1.Container) int64 {
	switch qosClass(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedScore
	case corev1.PodQOSBestEffort:
		return bestEffortScore
	case corev1.PodQOSBurstable:
	}
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/max(n.MemoryCapacity, 1)
	return min(max(score, 1000+guaranteedScore), bestEffortScore-1)
}

func cpuShares(milli int64) int64 {
	return min(max(milli*sharesPerCPU/1000, minShares), maxShares)
}

// cpuQuota is 0, for none, without a limit.
func cpuQuota(milli int64) int64 {
	if milli == 0 {
		return 0
	}
	return max(milli*cpuPeriod/1000, minQuota)
}

// cpuWeight is the cgroup v2 weight for cgroup v1 shares.
func cpuWeight(shares int64) string {
	return fmt.Sprint(1 + (shares-minShares)*9999/(maxShares-minShares))
}
