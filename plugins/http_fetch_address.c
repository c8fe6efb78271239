#include "plugins/http_fetch_address.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static bool ipv4_is_public(uint32_t address) {
    static const struct {
        uint32_t network;
        int bits;
    } special[] = {
        {0x00000000u, 8},  /* 0.0.0.0/8 this network */
        {0x0A000000u, 8},  /* 10.0.0.0/8 private */
        {0x64400000u, 10}, /* 100.64.0.0/10 shared by carriers */
        {0x7F000000u, 8},  /* 127.0.0.0/8 loopback */
        {0xA9FE0000u, 16}, /* 169.254.0.0/16 link-local, cloud metadata */
        {0xAC100000u, 12}, /* 172.16.0.0/12 private */
        {0xC0000000u, 24}, /* 192.0.0.0/24 protocol assignments */
        {0xC0000200u, 24}, /* 192.0.2.0/24 documentation */
        {0xC0586300u, 24}, /* 192.88.99.0/24 former 6to4 relays */
        {0xC0A80000u, 16}, /* 192.168.0.0/16 private */
        {0xC6120000u, 15}, /* 198.18.0.0/15 benchmarks */
        {0xC6336400u, 24}, /* 198.51.100.0/24 documentation */
        {0xCB007100u, 24}, /* 203.0.113.0/24 documentation */
        {0xE0000000u, 4},  /* 224.0.0.0/4 multicast */
        {0xF0000000u, 4},  /* 240.0.0.0/4 reserved, broadcast */
    };
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        if ((address ^ special[i].network) >> (32 - special[i].bits) == 0)
            return false;
    return true;
}

static bool has_prefix(const uint8_t *address, const uint8_t *prefix, int bits) {
    int whole = bits / 8, rest = bits % 8;
    return memcmp(address, prefix, (size_t)whole) == 0 &&
           (rest == 0 || (address[whole] ^ prefix[whole]) >> (8 - rest) == 0);
}

static uint32_t ipv4_inside(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static bool ipv6_is_public(const uint8_t *address) {
    static const uint8_t nat64[16] = {0x00, 0x64, 0xff, 0x9b}; /* 64:ff9b::/96 */
    static const uint8_t global[16] = {0x20};          /* 2000::/3, all that is assigned for the Internet */
    static const uint8_t protocols[16] = {0x20, 0x01}; /* 2001::/23: Teredo and other assignments */
    static const uint8_t sixtofour[16] = {0x20, 0x02}; /* 2002::/16 holds an IPv4 address */
    static const uint8_t example[16] = {0x20, 0x01, 0x0d, 0xb8};
    static const uint8_t example_long[16] = {0x3f, 0xff}; /* 3fff::/20 */
    if (has_prefix(address, nat64, 96))
        return ipv4_is_public(ipv4_inside(address + 12));
    if (!has_prefix(address, global, 3) || has_prefix(address, protocols, 23) ||
        has_prefix(address, example, 32) || has_prefix(address, example_long, 20))
        return false;
    return !has_prefix(address, sixtofour, 16) || ipv4_is_public(ipv4_inside(address + 2));
}

bool http_fetch_address_is_public(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return ipv4_is_public(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        return ipv6_is_public(in6.sin6_addr.s6_addr);
    }
    return false;
}
