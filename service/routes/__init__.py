"""The routes, one module for each subject. They read requests and write replies; what happens between is `engine`'s."""
