/* One variant of a template (FILE): raw or keeping an entry per frame, with or without a lock. Defines N(peer). */
#define JOINED(a, b) a##_##b
#define JOIN(a, b) JOINED(a, b)
#define N(name) JOIN(NAME, name)
#if LOCKED
#define LOCK(s) lock(&(s)->word)
#define UNLOCK(s) unlock(&(s)->word)
#else
#define LOCK(s) (void)0
#define UNLOCK(s) (void)0
#endif
#include FILE
static const struct peer N(peer) = { LABEL, KEEP, LOCKED ? 2 : 1, N(make), N(end), N(bytes), N(get), N(put) };
#undef JOINED
#undef JOIN
#undef N
#undef LOCK
#undef UNLOCK
#undef KEEP
#undef LOCKED
#undef NAME
