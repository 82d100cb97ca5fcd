package inspect

import (
	"maps"
	"regexp"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// redacted stands for a secret.
const redacted = "<redacted>"

// manifestKey is the annotation in which kubectl keeps the manifest it applied,
// environment and all. CRI-O keeps every annotation in one of its own.
const manifestKey = "kubectl.kubernetes.io/last-applied-configuration"

// secretName is in the names of labels, annotations and mount options that hold
// a secret.
var secretName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)passw(or)?d|passphrase|secret|token|credential|(api|private|access)[-_.]?key`)
})

// isSecretName tells whether a name is that of a secret. The look at its parts is
// quick and lets through few names that are none.
func isSecretName(name string) bool {
	// Letters of other alphabets may count as one of these without case.
	if strings.ContainsFunc(name, func(r rune) bool { return r > '~' }) {
		return secretName().MatchString(name)
	}
	lower := strings.ToLower(name)
	for _, part := range []string{"pass", "key", "token", "secret", "credential"} {
		if strings.Contains(lower, part) {
			return secretName().MatchString(name)
		}
	}
	return false
}

// RedactLabels returns labels or annotations with "<redacted>" in the place of what
// may be secret, as those of a [Container] are. The given map is not changed.
func RedactLabels(values map[string]string) map[string]string { return redactNamed(values) }

// redactNamed returns labels or annotations without what may be secret. The
// given map is not changed.
func redactNamed(values map[string]string) map[string]string {
	clean := maps.Clone(values)
	for name, value := range values {
		if name == manifestKey || strings.Contains(value, manifestKey) || isSecretName(name) {
			clean[name] = redacted
		}
	}
	return clean
}

// redactEnv hides the values of an environment, in place.
func redactEnv(env []string) {
	for i, entry := range env {
		if name, _, ok := strings.Cut(entry, "="); ok {
			env[i] = name + "=" + redacted
		}
	}
}

// redactMounts hides passwords in the options of mounts, such as CIFS takes them,
// in place.
func redactMounts(mounts []specs.Mount) {
	for _, m := range mounts {
		for i, option := range m.Options {
			if name, _, ok := strings.Cut(option, "="); ok && (name == "pass" || isSecretName(name)) {
				m.Options[i] = name + "=" + redacted
			}
		}
	}
}
