/* exit_codes.h - the exit codes as the help and the manual page list them; the library's statuses decide which one it
 * is. */
#ifndef CLI_EXIT_CODES_H
#define CLI_EXIT_CODES_H

enum { EXIT_DIFFERENT = 8 };

#define EXIT_CODE_MAP(X)                                                                                               \
    X("0", "all is well")                                                                                              \
    X("1", "an internal error")                                                                                        \
    X("2", "wrong use")                                                                                                \
    X("3", "the model is missing, damaged or not supported")                                                           \
    X("4", "it does not fit the memory budget")                                                                        \
    X("5", "a read or write failed")                                                                                   \
    X("6", "something is not permitted")                                                                               \
    X("7", "the context is full")                                                                                      \
    X("8", "two audits differ")                                                                                        \
    X("129", "hung up (SIGHUP: the terminal is gone)")                                                                 \
    X("130", "interrupted (Ctrl-C)")                                                                                   \
    X("141", "the reader of the output went away (as by SIGPIPE)")                                                     \
    X("143", "terminated (SIGTERM)")

#endif
