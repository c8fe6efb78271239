/* hermesd: the daemon and its offline commands. Reads flags, loads the settings, hands over. */
#include "base/log.h"
#include "daemon/cli_match.h"
#include "daemon/cli_parse.h"
#include "daemon/cli_render.h"
#include "daemon/cli_schema.h"
#include "daemon/config.h"
#include "daemon/daemon.h"
#include "daemon/lost_file.h"
#include "engine/cli_bench.h"
#include "engine/cli_model.h"
#include "engine/cli_tokenize.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLAG_CONFIG  1000
#define FLAG_CHECK   1001
#define FLAG_VERSION 1002
#define FLAG_HELP    1003
#define FLAGS        (CONFIG_KEYS + 5)
#define FLAG_NAME    32

struct flags {
    const char *config_file;
    bool check, version, help;
};

static void print_help(FILE *out) {
    fputs("hermesd: an agent daemon; jobs arrive over a Unix socket, the model runs inside, tools are "
          "plugins\n\n"
          "  hermesd [serve] [FLAGS]        serve until SIGTERM\n"
          "  hermesd check-config [FLAGS]   print every setting and where it comes from\n"
          "  hermesd model inspect FILE     what a model is and what it needs\n"
          "  hermesd model logits -m FILE --ids 1,2,3\n"
          "  hermesd model verify FILE      what is wrong with a model\n"
          "  hermesd model quantize IN OUT TYPE\n"
          "                                 a model as a GGUF file of another element type\n"
          "  hermesd bench [-m FILE]        tokens per second beside what this machine can do at most\n"
          "  hermesd tokenize -m FILE TEXT  how a text becomes tokens\n"
          "  hermesd render                 a conversation as JSON in, the exact prompt out\n"
          "  hermesd parse [--tools FILE]   a model's turn in, its calls and what would become of them out\n"
          "  hermesd schema check SCHEMA [INSTANCE…]\n"
          "                                 whether a tool may have this schema, and what is valid by it\n"
          "  hermesd schema match SCHEMA < INSTANCES\n"
          "                                 which values, one per line, a model may write under it\n"
          "  hermesd version\n\n"
          "flags (each is also HERMESD_NAME in the environment, and name = value in hermesd.conf):\n",
          out);
    for (int i = 0; i < CONFIG_KEYS; i++) {
        char flag[FLAG_NAME + 16];
        int n = 0;
        n = snprintf(flag, sizeof flag, "--%s%s%s", config_table[i].name,
                     config_table[i].arg != NULL ? " " : "",
                     config_table[i].arg != NULL ? config_table[i].arg : "");
        for (int k = 0; k < n && flag[k] != ' '; k++) {
            flag[k] = flag[k] == '_' ? '-' : flag[k];
        }
        fprintf(out, "  %-30s %s\n", flag, config_table[i].help);
    }
    fputs("  --config FILE                  read FILE in place of the user's hermesd.conf\n"
          "  --check                        load every plugin, print tools and confinement; 1 when one is "
          "refused\n"
          "  --version, --help\n\n"
          "exit codes: 0 stopped in order, 64 wrong flags, 74 journal or socket, 75 try again, 78 settings "
          "or model\n",
          out);
}

/* The table of settings as long options. */
static void fill_options(struct option options[FLAGS], char names[CONFIG_KEYS][FLAG_NAME]) {
    static const struct option own[] = {
        {"config", required_argument, NULL, FLAG_CONFIG},
        {"check", no_argument, NULL, FLAG_CHECK},
        {"version", no_argument, NULL, FLAG_VERSION},
        {"help", no_argument, NULL, FLAG_HELP},
        {NULL, 0, NULL, 0},
    };
    for (int i = 0; i < CONFIG_KEYS; i++) {
        snprintf(names[i], FLAG_NAME, "%s", config_table[i].name);
        for (char *at = names[i]; *at != '\0'; at++) {
            *at = *at == '_' ? '-' : *at;
        }
        options[i] = (struct option){
            .name = names[i],
            .has_arg = config_table[i].type == CONFIG_TYPE_BOOL ? optional_argument : required_argument,
            .val = i + 1,
        };
    }
    memcpy(options + CONFIG_KEYS, own, sizeof own);
}

static int take_flag(struct config *config, struct flags *flags, int flag, char *err, size_t errlen) {
    char where[FLAG_NAME + 4];
    switch (flag) {
    case FLAG_CONFIG:
        flags->config_file = optarg;
        return 0;
    case FLAG_CHECK:
        flags->check = true;
        return 0;
    case FLAG_VERSION:
        flags->version = true;
        return 0;
    case FLAG_HELP:
        flags->help = true;
        return 0;
    case '?':
    case ':':
        return err_set(err, errlen, -EINVAL, "%s", "");
    default:
        snprintf(where, sizeof where, "--%s", config_table[flag - 1].name);
        for (char *at = where; *at != '\0'; at++) {
            *at = *at == '_' ? '-' : *at;
        }
        return config_set(config, (enum config_key)(flag - 1), optarg != NULL ? optarg : "true",
                          CONFIG_FROM_FLAG, where, err, errlen);
    }
}

/* 0, or an exit code after saying why. */
static int read_flags(struct config *config, struct flags *flags, int argc, char **argv) {
    struct option options[FLAGS];
    char names[CONFIG_KEYS][FLAG_NAME];
    char err[1024] = "";
    int flag = 0;
    fill_options(options, names);
    while ((flag = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (take_flag(config, flags, flag == 'h' ? FLAG_HELP : flag, err, sizeof err) != 0) {
            if (err[0] != '\0') {
                fprintf(stderr, "hermesd: %s\n", err);
            }
            fputs("see hermesd --help\n", stderr); /* getopt has named the flag */
            return DAEMON_EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "hermesd: '%s' is not understood; see hermesd --help\n", argv[optind]);
        return DAEMON_EXIT_USAGE;
    }
    return 0;
}

static int print_config(const struct config *config) {
    struct buf out;
    char err[1024] = "";
    buf_init(&out, 1 << 20);
    int rc = config_print(config, &out);
    if (rc == 0) {
        fputs(out.data, stdout);
    }
    buf_finish(&out);
    if (rc == 0) {
        rc = config_check(config, err, sizeof err);
    }
    if (rc != 0) {
        fprintf(stderr, "hermesd: %s\n", err[0] != '\0' ? err : "memory is out");
    }
    return rc == 0 ? DAEMON_EXIT_OK : DAEMON_EXIT_CONFIG;
}

static int serve(struct config *config, int argc, char **argv, bool only_check, bool *at_once) {
    struct flags flags = {0};
    char err[1024] = "";
    enum log_level level = LOG_INFO;
    int code = read_flags(config, &flags, argc, argv);
    if (code != 0) {
        return code;
    }
    if (flags.help || flags.version) {
        if (flags.help) {
            print_help(stdout);
        } else {
            puts("hermesd " HERMESD_VERSION);
        }
        return DAEMON_EXIT_OK;
    }
    if (config_load(config, flags.config_file, err, sizeof err) != 0) {
        fprintf(stderr, "hermesd: %s\n", err);
        return DAEMON_EXIT_CONFIG;
    }
    if (only_check) {
        return print_config(config);
    }
    if (log_level_parse(config_text(config, CONFIG_LOG_LEVEL), &level) == 0) {
        log_set_level(level);
    }
    if (flags.check) {
        return daemon_check(config);
    }
    if (config_check(config, err, sizeof err) != 0) {
        fprintf(stderr, "hermesd: %s\n", err);
        return DAEMON_EXIT_CONFIG;
    }
    return daemon_serve(config, at_once);
}

static int version(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--json") == 0) {
        puts("{\"version\": \"" HERMESD_VERSION "\", \"api_version\": \"1.0\"}");
    } else {
        puts("hermesd " HERMESD_VERSION);
    }
    return DAEMON_EXIT_OK;
}

/* The model and the device that the daemon would take, unless the options say otherwise. */
static int bench(int argc, char **argv) {
    struct config config;
    char err[1024] = "";
    config_init(&config);
    int code = DAEMON_EXIT_CONFIG;
    if (config_load(&config, NULL, err, sizeof err) != 0) {
        fprintf(stderr, "hermesd bench: %s\n", err);
    } else {
        const struct cli_bench_settings settings = {
            .model = config_text(&config, CONFIG_MODEL),
            .gpu_module = config_text(&config, CONFIG_CUDA_MODULE),
            .device = daemon_wanted_device(&config),
            .gpus = daemon_wanted_gpus(&config),
            .kv = daemon_wanted_kv(&config),
            .n_threads = (int)config_int(&config, CONFIG_THREADS),
        };
        code = cli_bench(argc, argv, &settings);
    }
    config_finish(&config);
    return code;
}

int main(int argc, char **argv) {
    const char *command = argc > 1 ? argv[1] : "";
    struct config config;
    signal(SIGPIPE, SIG_IGN); /* a client that left is an error of one write */
    signal(SIGXFSZ, SIG_IGN); /* and so is a disk quota */
    lost_file_explain();
    if (strcmp(command, "model") == 0) {
        return cli_model(argc - 1, argv + 1);
    }
    if (strcmp(command, "bench") == 0) {
        return bench(argc - 1, argv + 1);
    }
    if (strcmp(command, "tokenize") == 0) {
        return cli_tokenize(argc - 1, argv + 1);
    }
    if (strcmp(command, "render") == 0) {
        return cli_render(argc - 1, argv + 1);
    }
    if (strcmp(command, "parse") == 0) {
        return cli_parse(argc - 1, argv + 1);
    }
    if (strcmp(command, "schema") == 0 && argc > 2 && strcmp(argv[2], "match") == 0) {
        return cli_match(argc - 2, argv + 2);
    }
    if (strcmp(command, "schema") == 0) {
        return cli_schema(argc - 1, argv + 1);
    }
    if (strcmp(command, "version") == 0) {
        return version(argc - 1, argv + 1);
    }
    config_init(&config);
    bool named = strcmp(command, "serve") == 0 || strcmp(command, "check-config") == 0;
    bool at_once = false;
    int code = serve(&config, named ? argc - 1 : argc, named ? argv + 1 : argv,
                     strcmp(command, "check-config") == 0, &at_once);
    config_finish(&config);
    if (at_once)
        _exit(code);
    return code;
}
