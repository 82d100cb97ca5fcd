/*
 * Prints capability sets with libcap, for the comparison in differential_test.go. Written for this project.
 *
 * Each line of the input is five masks in hexadecimal: inheritable, permitted, effective, bounding, ambient. Each line of the
 * output is cap_to_text(3), a tab, and cap_iab_to_text(3). LAST in the environment, when set, makes libcap believe that it is
 * the kernel's last capability.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* libcap asks the kernel for its last capability with prctl(2), before main. */
int prctl(int option, ...)
{
	unsigned long arg[4];
	va_list args;
	va_start(args, option);
	for (int i = 0; i < 4; i++)
		arg[i] = va_arg(args, unsigned long);
	va_end(args);
	const char *last = getenv("LAST");
	if (last != NULL && option == PR_CAPBSET_READ) {
		if ((long)arg[0] <= atol(last))
			return 1;
		errno = EINVAL;
		return -1;
	}
	return syscall(SYS_prctl, option, arg[0], arg[1], arg[2], arg[3]);
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(void)
{
	uint64_t inh, prm, eff, bnd, amb;
	while (scanf("%" SCNx64 "%" SCNx64 "%" SCNx64 "%" SCNx64 "%" SCNx64, &inh, &prm, &eff, &bnd, &amb) == 5) {
		cap_t caps = cap_init();
		cap_iab_t iab = cap_iab_init();
		for (int c = 0; c < 64; c++) {
			cap_value_t v = c;
			if ((inh >> c & 1) && cap_set_flag(caps, CAP_INHERITABLE, 1, &v, CAP_SET))
				return fail("cap_set_flag");
			if ((prm >> c & 1) && cap_set_flag(caps, CAP_PERMITTED, 1, &v, CAP_SET))
				return fail("cap_set_flag");
			if ((eff >> c & 1) && cap_set_flag(caps, CAP_EFFECTIVE, 1, &v, CAP_SET))
				return fail("cap_set_flag");
			if (c >= cap_max_bits())
				continue;
			if ((inh >> c & 1) && cap_iab_set_vector(iab, CAP_IAB_INH, v, CAP_SET))
				return fail("cap_iab_set_vector");
			if (!(bnd >> c & 1) && cap_iab_set_vector(iab, CAP_IAB_BOUND, v, CAP_SET))
				return fail("cap_iab_set_vector");
			if ((amb >> c & 1) && cap_iab_set_vector(iab, CAP_IAB_AMB, v, CAP_SET))
				return fail("cap_iab_set_vector");
		}
		char *text = cap_to_text(caps, NULL), *tuple = cap_iab_to_text(iab);
		if (text == NULL || tuple == NULL)
			return fail("to text");
		printf("%s\t%s\n", text, tuple);
		cap_free(text);
		cap_free(tuple);
		cap_free(caps);
		cap_free(iab);
	}
	return 0;
}
