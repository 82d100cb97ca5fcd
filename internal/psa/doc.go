// Package psa compares what package inspect/audit says of pods by the Pod Security
// Standards with what k8s.io/pod-security-admission says of their manifests.
//
// It has no code outside its test. It is a Go module of its own, as
// pod-security-admission brings a good part of Kubernetes.
package psa
